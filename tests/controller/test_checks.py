import os
import re
import subprocess
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.checks import run_checks

ROOT = Path(__file__).resolve().parents[2]
# The production example of docs/settings.md.
PRODUCTION = {
    "PUBLIC_URL": "https://switchyard.example.org",
    "ALLOWED_HOSTS": "switchyard.example.org",
    "TRUSTED_PROXIES": "10.0.0.5",
    "SECRET_KEY": "u1Yq7Zx0vKfN3mWc9RtBs5HdLg2PjEaO8iXyQnUe4TzVwMrCkJ6",
    "FIELD_KEYS": Fernet.generate_key().decode(),
}


def found():
    """Ids of our own checks that complain."""
    messages = run_checks(include_deployment_checks=False)
    ids = {message.id or "" for message in messages}
    return {identity for identity in ids if identity.startswith("controller.")}


def test_the_defaults_are_sound(db):
    assert found() == set()


@pytest.mark.parametrize("keys", [[], ["short"], [Fernet.generate_key().decode(), ""]])
def test_field_keys_that_encrypt_nothing_are_an_error(db, settings, keys):
    settings.FIELD_KEYS = keys

    assert found() == {"controller.E001"}


def test_an_expiry_shorter_than_the_interval_is_an_error(db, settings):
    settings.HEARTBEAT_EXPIRY = timedelta(seconds=5)

    assert found() == {"controller.E002"}


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("", False),
        ("http://localhost:8000", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://10.0.0.1:8000", True),
        ("https://switchyard.example.org", True),
    ],
)
def test_guests_and_debugging_from_elsewhere_are_warned_of(db, settings, url, is_open):
    settings.PUBLIC_URL = url
    settings.OPEN_TO_GUESTS = settings.DEBUG = True

    assert ({"controller.W001", "controller.W003"} <= found()) == is_open


@pytest.mark.parametrize(
    "wrong", ["switchyard.example.org", "https://example.org/switchyard", "https://"]
)
def test_a_public_url_that_is_no_origin_is_an_error(db, settings, wrong):
    settings.PUBLIC_URL = wrong

    assert found() == {"controller.E003"}


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody_as_a_proxy_is_warned_of(db, settings, everybody):
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.5"), ip_network(everybody)]

    assert found() == {"controller.W002"}


def test_letters_that_cannot_be_sent_are_warned_of(db, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    assert found() == {"controller.W004"}

    settings.EMAIL_HOST = "mail.example.org"
    assert found() == set()


def check_deploy(folder, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_documented_production_settings_pass_the_deployment_check(tmp_path):
    checked = check_deploy(tmp_path, **PRODUCTION)

    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout


def test_the_deployment_check_notices_plain_http(tmp_path):
    plain = PRODUCTION | {"PUBLIC_URL": "http://switchyard.example.org"}

    checked = check_deploy(tmp_path, **plain)

    assert checked.returncode != 0
    assert "security.W012" in checked.stderr  # SESSION_COOKIE_SECURE


def test_the_production_example_is_the_documented_one():
    documented = (ROOT / "docs" / "settings.md").read_text()

    for name, value in PRODUCTION.items():
        if name not in {"SECRET_KEY", "FIELD_KEYS"}:
            assert f"{name}={value}" in documented
        assert name in documented


def test_every_variable_that_is_read_is_documented():
    documented = (ROOT / "docs" / "settings.md").read_text()
    settings = "".join(file.read_text() for file in (ROOT / "config").glob("*.py"))

    names = set(re.findall(r'env\.[a-z]+\(\s*"([A-Z_]+)"', settings))

    assert len(names) > 30
    assert {name for name in names if f"`{name}`" not in documented} == set()


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        ("", {"controller.E004"}),
        ("whsec_c2hvcnQ=", {"controller.E004"}),
        ("a passphrase that is long, and no base64", {"controller.E004"}),
        ("whsec_" + "c2Vj" * 8, set()),
        ("c2Vj" * 8, set()),
    ],
)
def test_a_webhook_needs_a_secret_that_signs(db, settings, secret, wrong):
    settings.ALERT_WEBHOOK_URL = "http://10.0.0.7:9000/alerts"
    settings.ALERT_WEBHOOK_SECRET = secret

    assert found() == wrong


@pytest.mark.parametrize("url", ["alerts.example.org", "ftp://host/x", "https:///x"])
def test_a_webhook_that_is_no_address_is_an_error(db, settings, url):
    settings.ALERT_WEBHOOK_URL = url
    settings.ALERT_WEBHOOK_SECRET = "c2Vj" * 8

    assert found() == {"controller.E005"}
