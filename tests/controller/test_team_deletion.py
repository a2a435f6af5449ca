"""What becomes of what a team alone may use when it is deleted."""

import pytest
from django.db.models import ProtectedError
from django.urls import reverse

from controller.accounts.teams import delete_teams
from controller.models import ApiKey, Team
from tests.factories import (
    make_key,
    make_operator,
    make_served_model,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db


def test_the_keys_of_a_deleted_team_are_revoked():
    team, other = make_team(), make_team()
    key, kept = make_key(team=team)[0], make_key(team=other)[0]

    delete_teams([team])

    key.refresh_from_db()
    kept.refresh_from_db()
    assert key.revoked_at is not None
    assert kept.revoked_at is None
    assert list(Team.objects.all()) == [other]


@pytest.mark.parametrize("change", ["DELETE", "user"])
def test_who_is_taken_out_of_a_team_in_the_console_loses_its_keys(client, change):
    leaving, staying = make_user(), make_user()
    team = make_team(leaving, staying)
    make_key(leaving, team=team)
    own, kept = make_key(leaving)[0], make_key(staying, team=team)[0]
    client.force_login(make_operator())

    membership = team.memberships.get(user=leaving)
    value = "on" if change == "DELETE" else make_user().pk
    form = {
        "name": team.name,
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 1,
        "memberships-0-id": membership.pk,
        "memberships-0-team": team.pk,
        "memberships-0-user": leaving.pk,
        "memberships-0-role": "member",
        f"memberships-0-{change}": value,
    }
    answer = client.post(
        reverse("admin:controller_team_change", args=[team.pk]), form, follow=True
    )

    assert "1 key revoked." in answer.text
    assert set(ApiKey.objects.active()) == {own, kept}


def test_a_team_stays_while_a_model_is_for_it_alone():
    team, other = make_team(), make_team()
    served_model = make_served_model()
    served_model.teams.add(team, other)

    with pytest.raises(ProtectedError):
        delete_teams([team, other])
    delete_teams([other])  # the model is still for somebody
    with pytest.raises(ProtectedError):
        delete_teams([team])

    assert list(Team.objects.all()) == [team]


def test_the_console_names_the_model_that_stands_in_the_way(admin_client):
    team = make_team(make_user())
    served_model = make_served_model(name="for-few")
    served_model.teams.add(team)
    delete = reverse("admin:controller_team_delete", args=[team.pk])

    asked = admin_client.get(delete).content.decode()
    refused = admin_client.post(delete, {"post": "yes"})

    assert (
        reverse("admin:controller_servedmodel_change", args=[served_model.pk]) in asked
    )
    assert refused.status_code == 200
    assert Team.objects.filter(pk=team.pk).exists()


def test_the_console_deletes_several_teams_and_their_keys(admin_client):
    teams = [make_team(make_user()) for _ in range(2)]
    key = make_key(team=teams[0])[0]
    chosen = {
        "action": "delete_selected",
        "_selected_action": [team.pk for team in teams],
        "post": "yes",
    }

    admin_client.post(reverse("admin:controller_team_changelist"), chosen)

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert not Team.objects.exists()
