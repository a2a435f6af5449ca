"""Second factors, and those of whom one is required."""

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from cryptography.fernet import Fernet
from django.core.cache import cache
from django.core.management import call_command
from django.urls import reverse

from controller.operators import operator_of
from tests.chat.pages import make_session
from tests.factories import make_operator, make_user
from tests.totp import code_of

PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SIGN_IN = reverse("account_login")
SET_UP = reverse("mfa_index")
ADMIN = reverse("admin:index")
CHAT = reverse("chat:keys")


@pytest.fixture(autouse=True)
def no_counters_of_other_tests(db):
    cache.clear()


def sign_in(client, user):
    """The page after the password."""
    form = {"login": user.username, "password": PASSWORD}
    return client.post(SIGN_IN, form, follow=True)


def answer(client, code):
    client.post(reverse("mfa_authenticate"), {"code": code})
    return "_auth_user_id" in client.session


def test_the_password_alone_signs_nobody_in_who_has_an_app(client):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, SECRET)

    sign_in(client, user)
    assert "_auth_user_id" not in client.session

    assert not answer(client, "000000")
    assert answer(client, code_of(SECRET))


def test_guessing_a_code_is_stopped_before_the_right_one(client):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, SECRET)
    sign_in(client, user)
    for number in range(5):
        assert not answer(client, f"00000{number}")

    assert not answer(client, code_of(SECRET))

    cache.clear()  # as after five minutes
    sign_in(client, user)
    assert answer(client, code_of(SECRET))


def test_a_code_works_once(client):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, SECRET)
    code = code_of(SECRET)
    sign_in(client, user)
    assert answer(client, code)
    client.logout()

    sign_in(client, user)
    assert not answer(client, code)


def test_each_recovery_code_lets_in_once(client):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, SECRET)
    code = RecoveryCodes.activate(user).generate_codes()[0]

    sign_in(client, user)
    assert answer(client, code)
    client.logout()

    sign_in(client, user)
    assert not answer(client, code)


def test_secrets_of_second_factors_are_not_readable_in_the_database():
    user = make_user()
    TOTP.activate(user, SECRET)
    seed = RecoveryCodes.activate(user).instance.data["seed"]

    stored = str(list(Authenticator.objects.values_list("data", flat=True)))

    assert SECRET not in stored
    assert seed.startswith("gAAAA")


def test_rotating_the_field_keys_keeps_second_factors(client, settings):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, SECRET)
    codes = RecoveryCodes.activate(user).generate_codes()
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_KEYS]

    call_command("rotate_field_keys")
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]

    by_type = {each.type: each for each in Authenticator.objects.all()}
    assert by_type["totp"].wrap().validate_code(code_of(SECRET))
    assert by_type["recovery_codes"].wrap().generate_codes() == codes


@pytest.mark.parametrize(
    ("required", "is_staff", "page", "is_open"),
    [
        ("none", True, ADMIN, True),
        ("staff", True, ADMIN, False),
        ("staff", True, CHAT, False),
        ("staff", False, CHAT, True),
        ("everyone", False, CHAT, False),
    ],
)
def test_who_lacks_a_required_factor_sets_it_up_first(
    client, settings, required, is_staff, page, is_open
):
    settings.REQUIRE_SECOND_FACTOR = required
    user = make_operator() if is_staff else make_user()
    client.force_login(user)

    before = client.get(page)
    assert (before.status_code == 200) == is_open
    if not is_open:
        assert before.url == SET_UP
        assert "asks you for a second factor" in client.get(SET_UP).text

    TOTP.activate(user, SECRET)
    assert client.get(page).status_code == 200


@pytest.mark.parametrize("action", ["delete", "delete_selected"])
def test_recovery_codes_go_with_the_factor_that_an_operator_takes(client, action):
    user, other = make_user(), make_user()
    for each in (user, other):
        TOTP.activate(each, SECRET)
        RecoveryCodes.activate(each)
    app = Authenticator.objects.get(user=user, type=Authenticator.Type.TOTP)
    client.force_login(make_operator())

    if action == "delete":
        where = reverse("admin:mfa_authenticator_delete", args=[app.pk])
        client.post(where, {"post": "yes"})
    else:
        form = {"action": action, "_selected_action": [app.pk], "post": "yes"}
        client.post(reverse("admin:mfa_authenticator_changelist"), form)

    assert not Authenticator.objects.filter(user=user).exists()
    assert Authenticator.objects.filter(user=other).count() == 2


def test_recovery_codes_stay_while_another_factor_does(client):
    user = make_user()
    TOTP.activate(user, SECRET)
    RecoveryCodes.activate(user)
    passkey = Authenticator.objects.create(
        user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "key"}
    )
    client.force_login(make_operator())

    where = reverse("admin:mfa_authenticator_delete", args=[passkey.pk])
    client.post(where, {"post": "yes"})

    assert Authenticator.objects.filter(user=user).count() == 2


def test_recovery_codes_alone_are_no_second_factor(client, settings):
    settings.REQUIRE_SECOND_FACTOR = "staff"
    user = make_operator()
    RecoveryCodes.activate(user)
    client.force_login(user)

    assert client.get(ADMIN).url == SET_UP


def test_a_change_without_the_required_factor_is_not_made(client, settings):
    settings.REQUIRE_SECOND_FACTOR = "staff"
    user = make_operator()
    client.force_login(user)

    client.post(reverse("admin:controller_team_add"), {"name": "made"})
    client.post(CHAT, {"name": "made", "scopes": ["inference"]})

    assert not user.api_keys.exists()


def test_setting_up_and_leaving_stay_open_without_the_factor(client, settings):
    settings.REQUIRE_SECOND_FACTOR = "everyone"
    client.force_login(make_user(password=PASSWORD))

    for name in ("mfa_index", "usersessions_list", "account_email", "account_logout"):
        assert client.get(reverse(name)).status_code == 200, name


def test_a_socket_needs_the_required_factor_too(settings):
    from chat.sessions import session_user

    settings.REQUIRE_SECOND_FACTOR = "everyone"
    user = make_user()
    session_key = make_session(user)
    assert session_user(session_key) is None

    TOTP.activate(user, SECRET)
    assert session_user(session_key) == user


def test_the_fleets_lists_need_the_required_factor_too(settings):
    settings.REQUIRE_SECOND_FACTOR = "staff"
    user = make_operator()
    session_key = make_session(user)
    found = operator_of.func
    assert found(session_key, "controller.view_worker") is None

    TOTP.activate(user, SECRET)
    assert found(session_key, "controller.view_worker") == user
