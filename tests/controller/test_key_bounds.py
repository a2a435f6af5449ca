"""Where a key may be used."""

import pytest
from django.core.exceptions import ValidationError

from controller.errors import PermissionRefused
from controller.identity.bounds import ANY_ENDPOINT, NOWHERE, KeyBounds, KeyUse
from controller.models import ApiKey
from tests.factories import make_key, make_user

USE = KeyUse("10.1.2.3", "https://app.example.com", "/v1/chat/completions")


def bounds(**fields):
    return KeyBounds.of(ApiKey(**fields))


def refusal(bounds, use):
    """The code of the refusal; "" where it is let through."""
    try:
        bounds.check(use)
    except PermissionRefused as exc:
        return exc.code
    return ""


def test_a_key_without_bounds_is_not_checked():
    assert bounds(scopes=["inference"], allowed_models=["a"]) is None


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.1.2.3", ""),
        ("::ffff:10.1.2.3", ""),  # as a socket for both families has it
        ("2001:db8::7", ""),
        ("10.2.0.1", "address_not_allowed"),
        ("2001:db8::8", "address_not_allowed"),
        ("", "address_not_allowed"),
        ("testclient", "address_not_allowed"),
    ],
)
def test_a_key_is_for_its_networks(address, code):
    bound = bounds(allowed_networks=["10.1.0.0/16", "2001:db8::7/128"])

    assert refusal(bound, KeyUse(address)) == code


def test_a_key_is_for_its_endpoints():
    bound = bounds(allowed_endpoints=["/v1/chat/completions"])

    assert refusal(bound, USE) == ""
    for endpoint in ("/v1/completions", "/controller/", ""):
        assert refusal(bound, KeyUse(endpoint=endpoint)) == "endpoint_not_allowed"
    assert refusal(bound, KeyUse(endpoint=ANY_ENDPOINT)) == ""


def test_a_secret_key_with_sites_is_for_them_and_for_programs():
    bound = bounds(allowed_origins=["https://*.example.com"])

    assert refusal(bound, USE) == ""
    assert refusal(bound, KeyUse(origin="")) == ""
    for origin in ("null", "https://evil.com", "https://example.com.evil.com"):
        assert refusal(bound, KeyUse(origin=origin)) == "origin_not_allowed"


def test_a_publishable_key_is_for_its_sites_alone():
    bound = bounds(is_publishable=True, allowed_origins=["https://app.example.com"])

    assert refusal(bound, USE) == ""
    for origin in ("", "null", "https://evil-app.example.com"):
        assert refusal(bound, KeyUse(origin=origin)) == "origin_not_allowed"


def test_a_use_of_which_nothing_is_known_fits_no_bound():
    for fields in (
        {"allowed_networks": ["0.0.0.0/0"]},
        {"allowed_endpoints": ["/v1/models"]},
        {"is_publishable": True, "allowed_origins": ["https://app.example.com"]},
    ):
        assert refusal(bounds(**fields), NOWHERE)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scopes": ["inference", "engine"]}, "scopes"),
        ({"scopes": ["inference", "fleet"]}, "scopes"),
        ({"scopes": ["fleet"]}, "scopes"),
        ({"allowed_origins": []}, "allowed_origins"),
    ],
)
def test_a_publishable_key_that_could_do_more_is_not_made(db, fields, field):
    fine = {"is_publishable": True, "allowed_origins": ["https://app.example.com"]}

    with pytest.raises(ValidationError) as caught:
        make_key(make_user(), **fine | fields)

    assert list(caught.value.message_dict) == [field]
    assert not ApiKey.objects.exists()
    assert make_key(make_user(), **fine)[1].startswith("sy-pub-")
