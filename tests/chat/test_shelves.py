"""Presets and saved prompts: whose they are, who may use and who may change them."""

import pytest
from django.test import Client

from chat.composing.setups import Parameters, Setup
from chat.models import Preset, SavedPrompt
from controller.models import Membership
from tests.factories import make_operator, make_team, make_user

pytestmark = pytest.mark.django_db


def client_of(user):
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


@pytest.fixture
def owner():
    return make_user()


@pytest.fixture
def member():
    return make_user()


@pytest.fixture
def team(owner, member):
    team = make_team(owner, member)
    Membership.objects.filter(user=owner).update(role=Membership.Role.OWNER)
    return team


def names_for(user, kind="prompts"):
    answer = client_of(user).get("/shelves/").json()
    return {(each["name"], each["kind"]) for each in answer[kind]}


def test_people_use_their_own_their_teams_and_the_sites(owner, member, team):
    SavedPrompt.objects.create(name="mine", user=owner, text="a")
    SavedPrompt.objects.create(name="ours", team=team, text="b")
    SavedPrompt.objects.create(name="all", text="c")

    assert names_for(owner) == {("mine", "own"), ("ours", "team"), ("all", "site")}
    assert names_for(member) == {("ours", "team"), ("all", "site")}
    assert names_for(make_user()) == {("all", "site")}
    stranger = Client(headers={"host": "localhost"})
    assert stranger.get("/shelves/").status_code == 401


def test_a_prompt_is_saved_changed_and_deleted_by_its_owner(owner):
    client = client_of(owner)
    client.post("/saved/prompts/new/", {"name": "sum", "text": "Sum up {{text}}."})
    row = SavedPrompt.objects.get()
    address = f"/saved/prompts/{row.pk}/"
    assert (row.user, row.text) == (owner, "Sum up {{text}}.")

    client.post(address, {"name": "sum up", "text": "Sum up."})
    row.refresh_from_db()
    assert (row.name, row.text) == ("sum up", "Sum up.")

    assert "sum up" in client.get(f"{address}delete/").content.decode()
    client.post(f"{address}delete/")
    assert not SavedPrompt.objects.exists()


def test_what_is_not_ones_own_is_404_to_change(owner, member, team):
    mine = SavedPrompt.objects.create(name="mine", user=owner, text="a")
    ours = SavedPrompt.objects.create(name="ours", team=team, text="b")
    sites = SavedPrompt.objects.create(name="all", text="c")
    given = {"name": "new", "text": "new", "shelf": "own"}

    for row in (mine, ours, sites):
        for path in ("", "delete/"):
            address = f"/saved/prompts/{row.pk}/{path}"
            assert client_of(member).get(address).status_code == 404
            assert client_of(member).post(address, given).status_code == 404
    assert client_of(owner).get(f"/saved/prompts/{ours.pk}/").status_code == 200
    assert client_of(owner).get(f"/saved/prompts/{sites.pk}/").status_code == 404
    assert set(SavedPrompt.objects.values_list("name", "text")) == {
        ("mine", "a"),
        ("ours", "b"),
        ("all", "c"),
    }


def test_only_a_teams_owner_puts_something_on_its_shelf(owner, member, team):
    given = {"name": "ours", "text": "a", "shelf": str(team.pk)}

    refused = client_of(member).post("/saved/prompts/new/", given)
    assert refused.status_code == 200
    assert not SavedPrompt.objects.exists()

    client_of(owner).post("/saved/prompts/new/", given)
    row = SavedPrompt.objects.get()
    assert (row.team, row.user) == (team, None)


def test_two_of_one_name_on_one_shelf_are_refused(owner, settings):
    client = client_of(owner)
    given = {"name": "sum", "text": "a"}
    client.post("/saved/prompts/new/", given)

    assert "already" in client.post("/saved/prompts/new/", given).content.decode()
    settings.CHAT_MAX_SAVED = 1
    more = client.post("/saved/prompts/new/", given | {"name": "more"})
    assert "limit" in more.content.decode()
    assert SavedPrompt.objects.count() == 1


def test_the_panel_keeps_a_preset_of_ones_own(owner):
    given = {"name": "careful", "model": "mock-1", "temperature": "0", "stop": "END"}
    client = client_of(owner)
    post = {"path": "/shelves/presets/", "content_type": "application/json"}

    kept = client.post(data=given, **post)
    refused = client.post(data=given | {"name": "x", "temperature": "9"}, **post)

    assert kept.status_code == 201
    preset = Preset.objects.get()
    assert preset.user == owner
    assert preset.setup == Setup(parameters=Parameters(temperature=0.0, stop=["END"]))
    assert kept.json()["setup"]["temperature"] == 0.0
    assert list(refused.json()["fields"]) == ["temperature"]
    shown = client.get(f"/saved/presets/{preset.pk}/").content.decode()
    assert 'value="0.0"' in shown
    client.post(f"/saved/presets/{preset.pk}/", given | {"temperature": "", "seed": 5})
    preset.refresh_from_db()
    assert preset.parameters == {"stop": ["END"], "seed": 5}


def test_the_console_shows_and_makes_the_sites_own_alone(owner):
    mine = Preset.objects.create(name="mine", user=owner)
    operator = client_of(make_operator())

    made = operator.post(
        "/admin/chat/preset/add/", {"name": "careful", "temperature": "0.2"}
    )

    assert made.status_code == 302
    row = Preset.objects.of_site().get()
    assert (row.name, row.parameters) == ("careful", {"temperature": 0.2})
    listed = operator.get("/admin/chat/preset/").content.decode()
    assert "careful" in listed
    assert ">mine<" not in listed
    assert operator.get(f"/admin/chat/preset/{mine.pk}/change/").status_code == 302
    form = operator.get(f"/admin/chat/preset/{row.pk}/change/").content.decode()
    assert 'value="0.2"' in form


@pytest.mark.parametrize("path", ["/saved/prompts/", "/saved/presets/"])
def test_pages_need_a_sign_in_and_a_kind_that_is_known(owner, path):
    stranger = Client(headers={"host": "localhost"})

    assert stranger.get(path).status_code == 302
    assert client_of(owner).get(path).status_code == 200
    assert client_of(owner).get("/saved/nothing/").status_code == 404
