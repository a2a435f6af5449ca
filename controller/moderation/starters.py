"""Rules to begin with: secrets and personal data, in the forms that they have.

The forms of keys are those that their makers publish, as secret scanners know them
(gitleaks, GitHub's secret scanning). Each match is bounded, so that answers that stream
can be read too. Patterns see text in small letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from controller.models import ModerationRule, Revision


class StarterSet(models.TextChoices):
    SECRETS = "secrets", _("Secrets: keys, tokens and passwords")
    PERSONAL_DATA = "personal-data", _("Personal data: addresses and numbers of people")


@dataclass(frozen=True, slots=True)
class Starter:
    """A rule to be; its set is its category."""

    name: str
    category: StarterSet
    pattern: str


def _secret(name: str, pattern: str) -> Starter:
    return Starter(name, StarterSet.SECRETS, pattern)


def _personal(name: str, pattern: str) -> Starter:
    return Starter(name, StarterSet.PERSONAL_DATA, pattern)


STARTERS = (
    _secret("AWS access key", r"\b(?:akia|asia|abia|acca)[a-z2-7]{16}\b"),
    _secret("GitHub token", r"\bgh[pousr]_[a-z0-9]{36}\b|\bgithub_pat_\w{82}\b"),
    _secret("GitLab token", r"\bgl(?:pat|dt|ptt|rt|cbt|ft)-[\w-]{20,64}"),
    _secret("Google API key", r"\baiza[\w-]{35}"),
    _secret("Hugging Face token", r"\bhf_[a-z]{34}\b"),
    _secret(
        "OpenAI or Anthropic key",
        r"\bsk-(?:proj|ant|svcacct|admin)-[\w-]{16,180}|\bsk-[a-z0-9]{32,64}\b",
    ),
    _secret("Slack token", r"\bxox[abeoprs]-[\w-]{10,120}"),
    _secret("Stripe key", r"\b(?:sk|rk)_(?:live|test)_[a-z0-9]{10,99}\b"),
    _secret("Key of this site", r"\bsy-[a-z0-9]{20,80}\b"),
    _secret(
        "JSON web token",
        r"\beyj[\w-]{10,80}\.eyj[\w-]{10,120}(?:\.[\w-]{0,40})?",
    ),
    _secret(
        "Private key",
        r"-----begin (?:[a-z0-9]{1,12} ){0,3}private key(?: block)?-----",
    ),
    _secret(
        "Password in an address",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,60}:[^\s/@]{3,80}@[\w.-]{1,80}",
    ),
    _secret(
        "Password that is named",
        r"\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token)"
        r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?[^\s\"']{8,80}",
    ),
    _personal(
        "E-mail address",
        r"\b[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,40}\.){1,4}[a-z]{2,24}\b",
    ),
    _personal(
        "Card number",
        r"\b(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|6(?:011|5\d{2}))(?:[ -]?\d{4}){3}\b"
        r"|\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b",
    ),
    _personal("IBAN", r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?\b"),
    _personal(
        "US social security number",
        r"\b(?:00[1-9]|0[1-9]\d|[1-578]\d{2}|6[0-57-9]\d|66[0-57-9])"
        r"-(?:0[1-9]|[1-9]\d)-(?:000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})\b",
    ),
    _personal(
        "Chinese identity number",
        r"\b[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
        r"\d{3}[\dx]\b",
    ),
    _personal(
        "Chinese mobile number", r"(?:\+86[ -]?|\b)1[3-9]\d[ -]?\d{4}[ -]?\d{4}\b"
    ),
    _personal(
        "Phone number",
        r"\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}\b",
    ),
)


def starters_of(sets: Sequence[str]) -> list[Starter]:
    return [starter for starter in STARTERS if starter.category in sets]


def install(
    sets: Sequence[str], action: ModerationRule.Action, **fields: Any
) -> list[ModerationRule]:
    """The rules that were added: those of the sets whose names were not there yet. They
    hold for prompts and answers, for everybody, unless `fields` say otherwise."""
    fields.setdefault("direction", ModerationRule.Direction.BOTH)
    with transaction.atomic():
        known = set(ModerationRule.objects.values_list("name", flat=True))
        rules = [
            ModerationRule(
                name=starter.name,
                category=starter.category.value,
                pattern=starter.pattern,
                action=action,
                **fields,
            )
            for starter in starters_of(sets)
            if starter.name not in known
        ]
        for rule in rules:
            rule.full_clean()
            rule.save()
        Revision.bump("moderation")
    return rules
