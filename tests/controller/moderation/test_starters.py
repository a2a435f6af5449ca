"""The rules to begin with: what they find, and what they leave alone."""

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from controller.identity import secrets
from controller.models import ModerationRule
from controller.moderation.matching import Rule, RuleSet, check_pattern
from controller.moderation.starters import STARTERS, StarterSet
from controller.moderation.watch import find_spots
from tests.factories import make_key, make_operator

LIST = reverse("admin:controller_moderationrule_changelist")
INSTALL = reverse("admin:controller_moderationrule_install_starters")


def joined(*parts: str) -> str:
    """Written in parts, so that no scanner of secrets takes this file for a leak."""
    return "".join(parts)


TRUE = {
    "AWS access key": ["key AKIA" + "IOSFODNN7EXAMPLE,", "ASIA" + "Y34FZKBOKMUTVV7A"],
    "GitHub token": [joined("ghp", "_", "16C7e42F292c6912E7710c838347Ae178B4a")],
    "GitLab token": [joined("glpat", "-", "ABCdef123456789_xyzQ")],
    "Google API key": [joined("AIza", "SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe")],
    "Hugging Face token": [joined("hf", "_", "abcdefghijABCDEFGHIJklmnopqrstuvwx")],
    "OpenAI or Anthropic key": [
        joined("sk", "-proj-", "abcDEF0123456789_-abcDEF"),
        joined("sk", "-ant-api03-", "abcDEF0123456789"),
        joined("sk", "-", "abcDEF0123456789" * 2),
    ],
    "Slack token": [joined("xoxb", "-123456789012-abcdefGHIJ")],
    "Stripe key": [joined("sk", "_live_", "4eC39HqLyjWDarjtT1zdp7dc")],
    "JSON web token": [
        joined("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxMjM0In0.", "dozjgNryP4J3jVmNHl0w")
    ],
    "Private key": [
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    ],
    "Password in an address": ["postgres://app:s3cret@db.internal/x"],
    "Password that is named": ['password = "hunter2hunter2"', "API_KEY: abcd1234efgh"],
    "E-mail address": ["write to ada.l+x@mail.example.co.uk!"],
    "Card number": ["4111 1111 1111 1111", "5500000000000004", "3782-822463-10005"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "US social security number": ["SSN 078-05-1120"],
    "Chinese identity number": ["身份证11010519491231002X"],
    "Chinese mobile number": ["电话 138-0013-8000", "+86 13800138000"],
    "Phone number": ["+49 30 901820-0", "+1 (415) 555-0132"],
}
FALSE = {
    "AWS access key": ["AKIA is a prefix", "xakiaiosfodnn7example1"],
    "GitHub token": ["ghp_short", "the ghp_ prefix"],
    "GitLab token": ["glpat-", "glpat-short"],
    "Google API key": ["AIza", "aizawa"],
    "Hugging Face token": ["hf_hub_download", "hf_transfer is a package"],
    "OpenAI or Anthropic key": ["sk-learn", "sk-learn-is-a-very-nice-library"],
    "Slack token": ["xox", "xoxo-love"],
    "Stripe key": ["sk_live_", "risk_test_plan"],
    "Key of this site": ["sy-stem"],
    "JSON web token": ["eyJ alone", "a.b.c"],
    "Private key": ["-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----"],
    "Password in an address": ["https://example.com/a:b@c", "see http://host:8000/x"],
    "Password that is named": [
        "the password is short",
        "password: x",
        "no secret here",
    ],
    "E-mail address": ["@ada", "a @ b", "user@localhost"],
    "Card number": ["1234 5678", "4111 1111 1111", "id 9111111111111111"],
    "IBAN": ["DE89", "version 12", "AB12 is a seat"],
    "US social security number": ["000-12-3456", "666-12-3456", "078-05-112"],
    "Chinese identity number": ["110105194913310021", "12345678901234567"],
    "Chinese mobile number": ["12800138000", "1380013800"],
    "Phone number": ["+1", "1 + 2 = 3", "2026-11-26 17:00"],
}
BY_NAME = {starter.name: starter for starter in STARTERS}


def finds(name: str, text: str) -> bool:
    rule = Rule(1, name, "c", "flag", 100, pattern=BY_NAME[name].pattern)
    return bool(find_spots((RuleSet([rule]),), text))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_starter_finds_what_it_is_for_and_nothing_else(name: str):
    assert [text for text in TRUE.get(name, ()) if not finds(name, text)] == []
    assert [text for text in FALSE[name] if finds(name, text)] == []


@pytest.mark.parametrize("name", BY_NAME)
def test_a_starter_can_read_answers_that_stream(name: str):
    check_pattern(BY_NAME[name].pattern, is_streamed=True)


def test_keys_of_this_site_are_found(db):
    _key, secret = make_key()

    assert secrets.is_api_key(secret)
    assert finds("Key of this site", f"my key is {secret}.")


def test_starters_are_added_once_by_the_command(db, capsys):
    call_command("starter_rules", "secrets", action="redact")
    num_secrets = ModerationRule.objects.count()
    ModerationRule.objects.update(action="block")
    call_command("starter_rules")

    rows = ModerationRule.objects
    assert num_secrets == rows.filter(category="secrets", action="block").count() > 10
    assert rows.filter(category="personal-data", action="flag").count() > 5
    assert rows.count() == len(STARTERS)
    assert "rule(s) added, which flag." in capsys.readouterr().out


def test_a_set_that_is_not_there_is_named(db):
    with pytest.raises(CommandError, match="no set 'x'"):
        call_command("starter_rules", "x")


def test_starters_are_added_in_the_console(client, db):
    client.force_login(make_operator())

    assert INSTALL.encode() in client.get(LIST).content
    assert b"Card number" in client.get(INSTALL).content
    sets = [StarterSet.PERSONAL_DATA.value]
    answer = client.post(INSTALL, {"sets": sets, "action": "redact"}, follow=True)

    rows = ModerationRule.objects.all()
    assert f"{len(rows)} rules added" in answer.content.decode()
    assert {(row.category, row.action, row.direction) for row in rows} == {
        ("personal-data", "redact", "both")
    }
