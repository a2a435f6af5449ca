"""Keys, tokens, invitations and people in the console."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import IntegrityError
from django.urls import reverse
from django.utils.timezone import now

from controller.identity import secrets
from controller.models import (
    AllowedOrigin,
    ApiKey,
    Invitation,
    JoinToken,
    Revision,
    User,
)
from tests.factories import (
    make_allowed_origin,
    make_invitation,
    make_join_token,
    make_key,
    make_operator,
    make_served_model,
    make_team,
    make_user,
)


@pytest.fixture
def operator(db):
    return make_operator()


@pytest.fixture
def console(client, operator):
    client.force_login(operator)
    return client


def url(model, page="changelist", *args):
    return reverse(f"admin:controller_{model}_{page}", args=args)


def act(client, model, action, *rows):
    """Choose an action of a list, and go on with it where it asks."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url(model), chosen | {"post": "yes"})


def keys_revision():
    return Revision.current().keys


def key_form(user, **fields):
    return {"user": user.pk, "name": "laptop", "scopes": ["inference"]} | fields


ISSUED = {
    "apikey": (ApiKey, lambda user: key_form(user)),
    "jointoken": (JoinToken, lambda user: {"note": "rack 4"}),
    "invitation": (
        Invitation,
        lambda user: {"expires_at_0": "2999-01-01", "expires_at_1": "00:00"},
    ),
}


@pytest.mark.parametrize("model", ISSUED)
def test_a_secret_is_in_the_answer_and_nowhere_else(console, operator, model):
    model_class, form = ISSUED[model]

    answer = console.post(url(model, "add"), form(operator))

    row = model_class.objects.get()
    secret = answer.context["secret"]
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert secret in answer.content.decode()
    assert secrets.digest(secret) == row.digest
    kept = [
        *(session.get_decoded() for session in Session.objects.all()),
        *(vars(entry) for entry in LogEntry.objects.all()),
        vars(row),
        answer.cookies,
    ]
    assert secret not in str(kept)
    for page in (url(model), url(model, "change", row.pk), reverse("admin:index")):
        assert secret not in console.get(page).content.decode()


def test_a_key_is_what_the_form_said(console, operator):
    make_served_model("llama", aliases=["small"])
    team = make_team(operator)
    revision = keys_revision()

    console.post(
        url("apikey", "add"),
        key_form(
            operator,
            team=team.pk,
            scopes=["inference", "fleet"],
            allowed_models=["llama", "small"],
            max_concurrent="3",
        ),
    )

    key = ApiKey.objects.get()
    assert (key.user, key.team, key.name) == (operator, team, "laptop")
    assert key.scopes == ["inference", "fleet"]
    assert key.allowed_models == ["llama", "small"]
    assert key.max_concurrent == 3
    assert keys_revision() > revision


def test_a_key_without_chosen_models_may_ask_for_every_model(console, operator):
    console.post(url("apikey", "add"), key_form(operator))

    assert ApiKey.objects.get().allowed_models is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"scopes": []},
        {"scopes": ["root"]},
        {"allowed_models": ["unknown"]},
        {"max_concurrent": "0"},
        {"expires_at_0": "2001-01-01", "expires_at_1": "00:00"},
    ],
    ids=str,
)
def test_a_wrong_form_makes_no_key(console, operator, wrong):
    answer = console.post(url("apikey", "add"), key_form(operator, **wrong))

    assert answer.context["errors"]
    assert not ApiKey.objects.exists()


def test_a_key_is_of_a_team_only_with_its_owner(console, operator):
    team = make_team(make_user())

    answer = console.post(url("apikey", "add"), key_form(operator, team=team.pk))

    assert "is not a member" in str(answer.context["errors"])


def test_changing_a_key_is_announced_and_leaves_its_owner_and_digest(console):
    make_served_model("llama")
    key, secret = make_key(allowed_models=["gone"])
    revision = keys_revision()

    form = {"name": "server", "scopes": ["fleet"], "allowed_models": ["llama", "gone"]}
    console.post(
        url("apikey", "change", key.pk), form | {"user": make_user().pk, "digest": "x"}
    )

    changed = ApiKey.objects.get()
    assert (changed.name, changed.scopes) == ("server", ["fleet"])
    assert set(changed.allowed_models) == {"llama", "gone"}
    assert (changed.user, changed.digest) == (key.user, secrets.digest(secret))
    assert keys_revision() > revision


def test_revoking_keys_is_announced_and_noted(console):
    key, _ = make_key()
    other, _ = make_key()
    revision = keys_revision()

    act(console, "apikey", "revoke", key)

    assert list(ApiKey.objects.active()) == [other]
    assert keys_revision() > revision
    assert LogEntry.objects.get().object_id == str(key.pk)


def test_what_cannot_be_undone_is_asked_for_first(console):
    keys = [make_key(name=f"key {number}")[0] for number in range(25)]
    chosen = {"action": "revoke", "_selected_action": [key.pk for key in keys]}

    asked = console.post(url("apikey") + "?state=usable", chosen)

    assert ApiKey.objects.active().count() == 25
    page = asked.content.decode()
    assert "A revoked key never works again." in page
    assert f"key 24 ({keys[24].prefix}" in page
    assert "and 5 more" in page
    assert page.count('name="_selected_action"') == 25
    console.post(url("apikey") + "?state=usable", chosen | {"post": "yes"})
    assert not ApiKey.objects.active().exists()


def test_what_was_chosen_across_pages_is_asked_for_and_done_across_pages(console):
    for _number in range(60):
        make_key()
    chosen = {"action": "revoke", "_selected_action": ["1"], "select_across": "1"}

    asked = console.post(url("apikey"), chosen).content.decode()
    console.post(url("apikey"), chosen | {"post": "yes"})

    assert "and 40 more" in asked
    assert '<input type="hidden" name="select_across" value="1">' in asked
    assert not ApiKey.objects.active().exists()


def test_revoking_again_keeps_the_first_moment(console):
    key, _ = make_key(revoked_at=now())

    act(console, "apikey", "revoke", key)

    assert ApiKey.objects.get().revoked_at == key.revoked_at


@pytest.mark.parametrize("state", ["usable", "expired", "revoked"])
def test_keys_are_filtered_by_state(console, state):
    keys = {
        "usable": make_key()[0],
        "expired": make_key(expires_at=now())[0],
        "revoked": make_key(revoked_at=now())[0],
    }

    found = console.get(url("apikey"), {"state": state}).context["cl"].result_list

    assert list(found) == [keys[state]]


def test_the_join_tokens_page_shows_the_command(console, operator, settings):
    settings.PUBLIC_URL = "https://switchyard.example"

    answer = console.post(url("jointoken", "add"), {"networks": "10.1.0.0/16"})

    token = JoinToken.objects.get()
    page = answer.content.decode()
    assert (token.created_by, token.networks) == (operator, ["10.1.0.0/16"])
    assert f"SWITCHYARD_JOIN_TOKEN={answer.context['secret']}" in page
    assert "python -m workers.vllm_worker --model-path" in page
    assert "--controller-address https://switchyard.example" in page


def test_wrong_networks_are_named(console):
    answer = console.post(url("jointoken", "add"), {"networks": "10.0.0.0/33"})

    assert "10.0.0.0/33" in str(answer.context["errors"])
    assert not JoinToken.objects.exists()


def test_revoked_tokens_let_nobody_join(console):
    token, _ = make_join_token()

    act(console, "jointoken", "revoke", token)

    assert not JoinToken.objects.usable().exists()


def test_of_a_token_only_the_note_changes(console):
    token, _ = make_join_token()

    console.post(
        url("jointoken", "change", token.pk), {"note": "rack 4", "is_reusable": "on"}
    )

    token.refresh_from_db()
    assert (token.note, token.is_reusable) == ("rack 4", False)


def test_the_invitations_link_signs_one_person_up(console, client, operator):
    answer = console.post(url("invitation", "add"), ISSUED["invitation"][1](operator))
    link = answer.context["link"].removeprefix("http://testserver")
    client.logout()

    assert b"password1" in client.get(link).content
    assert Invitation.objects.get().invited_by == operator


def test_withdrawing_an_invitation_is_deleting_it(console):
    invitation, _ = make_invitation()

    console.post(url("invitation", "delete", invitation.pk), {"post": "yes"})

    assert not Invitation.objects.exists()


def user_form(user, **fields):
    return {
        "username": user.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00",
    } | fields


def test_deactivating_a_user_reaches_the_holders_of_their_keys(console):
    user = make_user()
    make_key(user)
    revision = keys_revision()

    console.post(url("user", "change", user.pk), user_form(user))  # not is_active

    assert not ApiKey.objects.active().exists()
    assert keys_revision() > revision


def test_deleting_a_user_ends_their_keys(console):
    user = make_user()
    make_key(user)
    revision = keys_revision()

    console.post(url("user", "delete", user.pk), {"post": "yes"})

    assert not ApiKey.objects.exists()
    assert keys_revision() > revision


@pytest.mark.parametrize("fields", [{}, {"is_active": "on"}, {"is_superuser": "on"}])
def test_the_last_account_with_all_powers_keeps_them(console, operator, fields):
    form = user_form(operator, is_staff="on") | fields

    refused = console.post(url("user", "change", operator.pk), form)
    assert "last account with all powers" in refused.content.decode()
    operator.refresh_from_db()
    assert operator.is_superuser
    assert operator.is_active

    make_operator()
    console.post(url("user", "change", operator.pk), form)
    operator.refresh_from_db()
    assert not (operator.is_superuser and operator.is_active)


def test_the_last_account_with_all_powers_is_not_deleted(console, operator):
    other = make_operator()

    page = act(console, "user", "delete_selected", operator, other)
    assert "last account with all powers" in page.content.decode()
    assert User.objects.filter(is_superuser=True).count() == 2

    console.post(url("user", "delete", other.pk), {"post": "yes"})
    console.post(url("user", "delete", operator.pk), {"post": "yes"})
    assert list(User.objects.all()) == [operator]


def test_a_former_address_opens_an_account_no_more(console, client, mailoutbox):
    user = make_user(email="former@example.org")
    for address in ("former@example.org", "second@example.org"):
        EmailAddress.objects.create(
            user=user, email=address, verified=True, primary=address.startswith("f")
        )

    form = user_form(user, email="Ann@Example.org", is_active="on")
    console.post(url("user", "change", user.pk), form)

    user.refresh_from_db()
    assert user.email == "ann@example.org"
    known = EmailAddress.objects.get()
    assert (known.email, known.primary, known.verified) == (user.email, True, False)
    client.logout()
    for address in ("former@example.org", "ann@example.org"):
        client.post(reverse("account_reset_password"), {"email": address})
    assert [letter.to for letter in mailoutbox] == [["ann@example.org"]]


def test_an_account_that_is_left_its_address_keeps_all(console):
    user = make_user(email="ann@example.org")
    EmailAddress.objects.create(user=user, email="second@example.org", verified=True)

    form = user_form(user, email="ann@example.org", first_name="Ann", is_active="on")
    console.post(url("user", "change", user.pk), form)

    assert EmailAddress.objects.get().email == "second@example.org"


@pytest.fixture
def helper(client, db):
    """Staff that may look after users, and is no superuser."""
    user = make_user(is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__model__in=("user", "apikey"))
    )
    client.force_login(user)
    return user


def test_staff_cannot_hand_out_powers(client, helper):
    user = make_user()
    powers = {"is_active": "on", "is_staff": "on", "is_superuser": "on"}

    client.post(url("user", "change", user.pk), user_form(user, email="a@b.example"))
    client.post(url("user", "change", user.pk), user_form(user, **powers))

    user.refresh_from_db()
    assert not user.is_staff
    assert not user.is_superuser
    assert user.is_active  # the form itself was taken


def test_staff_cannot_touch_a_superuser(client, helper, operator):
    new = {"password1": "taken over 123", "password2": "taken over 123"}
    client.post(reverse("admin:auth_user_password_change", args=[operator.pk]), new)
    client.post(url("user", "change", operator.pk), user_form(operator))
    client.post(url("user", "delete", operator.pk), {"post": "yes"})
    client.post(
        url("user"),
        {"action": "delete_selected", "_selected_action": [operator.pk], "post": "yes"},
    )

    assert vars(User.objects.get(pk=operator.pk))["password"] == operator.password
    assert User.objects.get(pk=operator.pk).is_active


# -- Keys: where they are for, and their rotation --------------------------------------


def test_a_keys_bounds_are_what_the_form_said(console, operator):
    console.post(
        url("apikey", "add"),
        key_form(
            operator,
            is_publishable="on",
            allowed_endpoints=["/v1/chat/completions"],
            allowed_networks="10.0.0.0/8, ::1",
            allowed_origins="https://a.example  https://*.b.example",
        ),
    )

    key = ApiKey.objects.get()
    assert key.is_publishable
    assert key.prefix.startswith("sy-pub-")
    assert key.allowed_endpoints == ["/v1/chat/completions"]
    assert key.allowed_networks == ["10.0.0.0/8", "::1/128"]
    assert key.allowed_origins == ["https://a.example", "https://*.b.example"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"allowed_networks": "10.0.0.0/33"}, "10.0.0.0/33"),
        ({"allowed_origins": "https://a.example/"}, "nothing after them"),
        ({"allowed_origins": "*"}, "every site"),
        ({"is_publishable": "on"}, "Name the sites"),
        (
            {
                "is_publishable": "on",
                "allowed_origins": "https://a.example",
                "scopes": ["inference", "fleet"],
            },
            "only infers",
        ),
    ],
    ids=str,
)
def test_wrong_bounds_make_no_key_and_say_why(console, operator, wrong, reason):
    answer = console.post(url("apikey", "add"), key_form(operator, **wrong))

    assert reason in str(answer.context["errors"])
    assert not ApiKey.objects.exists()


def test_changing_a_key_keeps_its_bounds_and_its_kind(console):
    sites = ["https://a.example", "https://*.b.example"]
    key, _ = make_key(
        is_publishable=True, allowed_origins=sites, allowed_networks=["::1/128"]
    )
    change = url("apikey", "change", key.pk)
    shown = console.get(change).context["adminform"].form

    form = {
        "name": "renamed",
        "scopes": ["inference"],
        "allowed_origins": shown["allowed_origins"].value(),
        "allowed_networks": shown["allowed_networks"].value(),
    }
    console.post(change, form | {"is_publishable": ""})

    changed = ApiKey.objects.get()
    assert changed.name == "renamed"
    assert (changed.allowed_origins, changed.allowed_networks) == (sites, ["::1/128"])
    assert changed.is_publishable


def rotation_url(key):
    return reverse("admin:controller_apikey_rotate", args=[key.pk])


def test_a_rotation_shows_the_new_secret_once_and_is_noted(console):
    key, old = make_key()
    revision = keys_revision()
    assert rotation_url(key) in console.get(url("apikey", "change", key.pk)).text

    asked = console.get(rotation_url(key))
    answer = console.post(rotation_url(key), {"overlap": "2h"})

    rotated = ApiKey.objects.get()
    secret = answer.context["secret"]
    assert asked.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert secret in answer.text
    assert rotated.digest == secrets.digest(secret)
    assert rotated.previous_digest == secrets.digest(old)
    assert rotated.previous_expires_at > now() + timedelta(minutes=119)
    assert keys_revision() > revision
    kept = [*(vars(entry) for entry in LogEntry.objects.all()), vars(rotated)]
    assert "Rotated" in str(kept)
    assert secret not in str(kept)
    assert secret not in console.get(url("apikey", "change", key.pk)).text


def test_a_rotation_with_a_wrong_overlap_changes_nothing(console):
    key, secret = make_key()

    answer = console.post(rotation_url(key), {"overlap": "soon"})

    assert "soon" in answer.text
    assert ApiKey.objects.get().digest == secrets.digest(secret)


def test_a_revoked_key_is_not_rotated(console):
    key, secret = make_key(revoked_at=now())

    refused = console.post(rotation_url(key), {"overlap": "0"})

    assert refused.status_code in {302, 403, 404}
    assert ApiKey.objects.get().digest == secrets.digest(secret)
    assert rotation_url(key) not in console.get(url("apikey", "change", key.pk)).text


def test_who_may_only_look_at_keys_rotates_none(client, db):
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client.force_login(user)
    key, secret = make_key()

    client.post(rotation_url(key), {"overlap": "0"})

    assert ApiKey.objects.get().digest == secrets.digest(secret)


def test_the_list_of_users_leads_to_their_keys(console):
    user, other = make_user(), make_user()
    keys = {make_key(user)[0], make_key(user)[0]}
    make_key(other)

    link = f"{url('apikey')}?user={user.pk}"
    page = console.get(url("user"))
    listed = console.get(link).context["cl"].result_list

    assert f'<a href="{link}">2</a>' in page.text
    assert set(listed) == keys


# -- CORS ------------------------------------------------------------------------------


def origin_form(pattern, **fields):
    return {"pattern": pattern, "methods": ["*"], "headers": "*"} | fields


def test_an_allowed_origin_is_what_the_form_said_and_announced(console):
    revision = Revision.current().origins
    form = origin_form(
        " https://*.a.example ",
        methods=["GET", "POST"],
        headers="Authorization, Content-Type",
        allows_credentials="on",
    )

    console.post(url("allowedorigin", "add"), form)

    row = AllowedOrigin.objects.get()
    assert row.pattern == "https://*.a.example"
    assert row.methods == ["GET", "POST"]
    assert row.headers == ["Authorization", "Content-Type"]
    assert row.allows_credentials
    assert Revision.current().origins > revision


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"pattern": "example.com"}, "write scheme and host"),
        ({"pattern": "https://*.com"}, "top-level domain"),
        ({"pattern": "null"}, "sandboxed frames"),
        ({"pattern": "*", "allows_credentials": "on"}, "Not for every site"),
        ({"methods": []}, "required"),
        ({"methods": ["STEAL"]}, "STEAL"),
        ({"headers": ""}, "required"),
        ({"headers": "a:b"}, "a:b"),
    ],
    ids=str,
)
def test_a_wrong_origin_is_refused_with_the_reason(console, wrong, reason):
    form = origin_form("https://a.example") | wrong

    answer = console.post(url("allowedorigin", "add"), form)

    assert reason in str(answer.context["errors"])
    assert not AllowedOrigin.objects.exists()


def test_deleting_an_allowed_origin_is_announced(console):
    row = make_allowed_origin()
    revision = Revision.current().origins

    console.post(url("allowedorigin", "delete", row.pk), {"post": "yes"})

    assert not AllowedOrigin.objects.exists()
    assert Revision.current().origins > revision


def test_the_database_itself_refuses_credentials_for_everybody(db):
    with pytest.raises(IntegrityError):
        AllowedOrigin.objects.create(pattern="*", allows_credentials=True)
