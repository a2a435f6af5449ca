"""Secrets, what is shown and stored of them, and how a request bears them."""

import re

import pytest
from cryptography.fernet import Fernet, InvalidToken

from controller.errors import AuthenticationFailed, InvalidRequest
from controller.identity import encryption, secrets
from controller.identity.credentials import read_credential

KINDS = [
    secrets.API_KEY,
    secrets.JOIN_TOKEN,
    secrets.WORKER_CREDENTIAL,
    secrets.INVITATION,
]


@pytest.mark.parametrize("prefix", KINDS)
def test_a_secret_is_of_its_own_kind_and_no_other(prefix):
    made = secrets.make_secret(prefix)

    right = [kind for kind in KINDS if secrets.has_right_checksum(made, kind)]

    assert right == [prefix]
    assert re.fullmatch(r"[a-z-]+-[0-9A-Za-z]{49}", made)


def test_no_two_secrets_are_alike():
    assert len({secrets.make_secret(secrets.API_KEY) for _ in range(1000)}) == 1000


def test_every_single_typing_error_is_noticed():
    made = secrets.make_secret(secrets.API_KEY)
    for at in range(len(secrets.API_KEY), len(made)):
        typo = made[:at] + ("x" if made[at] != "x" else "y") + made[at + 1 :]

        assert not secrets.has_right_checksum(typo, secrets.API_KEY), at


@pytest.mark.parametrize(
    "secret",
    ["", "sy-", "sy-" + "é" * 49, "sy-" + "\0" * 49, "\ud800" * 52, "x" * 2**20],
)
def test_anything_may_be_asked_about(secret):
    assert not secrets.has_right_checksum(secret, secrets.API_KEY)


@pytest.mark.parametrize("prefix", KINDS)
def test_what_is_shown_of_a_secret_is_too_little_to_use(prefix):
    made = secrets.make_secret(prefix)

    assert secrets.shown_part(made) == made[: len(prefix) + 8]


# -- Encryption ------------------------------------------------------------------------


def test_what_is_encrypted_comes_back_and_empty_stays_empty():
    sealed = encryption.encrypt("engine-key é")

    assert "engine" not in sealed
    assert encryption.decrypt(sealed) == "engine-key é"
    assert (
        encryption.encrypt("") == encryption.decrypt("") == encryption.rotate("") == ""
    )


def test_the_first_field_key_writes_and_all_read(settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    sealed = encryption.encrypt("engine-key")

    settings.FIELD_KEYS = [new, old]
    assert encryption.decrypt(sealed) == "engine-key"
    rotated = encryption.rotate(sealed)

    settings.FIELD_KEYS = [new]
    assert encryption.decrypt(rotated) == "engine-key"
    with pytest.raises(InvalidToken):
        encryption.decrypt(sealed)


# -- Headers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, ""),
        ({"HTTP_AUTHORIZATION": "Bearer k"}, "k"),
        ({"HTTP_AUTHORIZATION": "bEARER   k  "}, "k"),
        ({"HTTP_AUTHORIZATION": "Bearer"}, ""),
        ({"HTTP_AUTHORIZATION": "Bearer "}, ""),
        ({"HTTP_AUTHORIZATION": " "}, ""),
        ({"HTTP_X_API_KEY": " k "}, "k"),
        ({"HTTP_X_API_KEY": "k", "HTTP_AUTHORIZATION": "Bearer k"}, "k"),
        ({"HTTP_X_API_KEY": "k", "HTTP_AUTHORIZATION": "Bearer"}, "k"),
        ({"HTTP_X_API_KEY": "", "HTTP_AUTHORIZATION": "Bearer k"}, "k"),
        ({"HTTP_AUTHORIZATION": "Bearer é\0\x7f"}, "é\0\x7f"),
        ({"HTTP_AUTHORIZATION": "Bearer k,Bearer k"}, "k"),  # sent twice
    ],
)
def test_the_credential_is_read_from_every_header_for_it(headers, secret):
    assert read_credential(headers) == secret


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_X_API_KEY": "k1", "HTTP_AUTHORIZATION": "Bearer k2"},
        {"HTTP_AUTHORIZATION": "Bearer k1,Bearer k2"},  # sent twice
        {"HTTP_X_API_KEY": "k1,k2"},
    ],
)
def test_two_credentials_that_disagree_are_refused(headers):
    with pytest.raises(InvalidRequest) as caught:
        read_credential(headers)

    assert caught.value.code == "conflicting_credentials"
    assert "k1" not in caught.value.message


@pytest.mark.parametrize(
    "authorization", ["k", "Basic dXNlcjpwYXNz", "Bearer\tk", "Bearer " + "k" * 2**20]
)
def test_what_cannot_be_one_of_our_keys_is_refused_with_little_said(authorization):
    with pytest.raises(AuthenticationFailed) as caught:
        read_credential({"HTTP_AUTHORIZATION": authorization})

    assert len(caught.value.message) < 200
    assert "dXNlcjpwYXNz" not in caught.value.message
