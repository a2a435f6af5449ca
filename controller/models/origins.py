"""Whose web pages may call `/v1` from a browser."""

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.identity import origins
from controller.models.revision import Revision

ANY = "*"
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


def validate_pattern(pattern: str) -> None:
    if pattern == origins.EVERYONE:
        return
    try:
        origins.parse_pattern(pattern)
    except ValueError as exc:
        raise ValidationError(str(exc)) from exc


def validate_tokens(tokens: object) -> None:
    """Methods and names of headers are tokens (RFC 9110, 5.6.2); `*` is one."""
    wrong = [
        token
        for token in (tokens if isinstance(tokens, list) else [tokens])
        if not isinstance(token, str) or not _TOKEN.fullmatch(token)
    ]
    if wrong:
        raise ValidationError(
            _("%(token)s is no name of a method or header."),
            params={"token": repr(wrong[0])},
        )


def any_of_them() -> list[str]:
    return [ANY]


class AllowedOrigin(models.Model):
    """A row of CORS: sites, and what their pages may send and read.

    It is here and not beside the middleware that answers by it (`openai_api.cors`)
    since `serve --allowed-origins` writes it, the console edits it, and the gateway's
    change channel carries it: all of them below that app.
    """

    pattern = models.CharField(
        _("origin"),
        max_length=origins.MAX_LENGTH,
        unique=True,
        validators=[validate_pattern],
        help_text=_(
            "Such as https://app.example.com, or https://*.example.com for every host"
            " one label below, or * for every site."
        ),
    )
    methods = models.JSONField(
        _("methods"), default=any_of_them, validators=[validate_tokens]
    )
    headers = models.JSONField(
        _("request headers"), default=any_of_them, validators=[validate_tokens]
    )
    allows_credentials = models.BooleanField(
        _("credentials"),
        default=False,
        help_text=_(
            "Browsers may send cookies and TLS client certificates along. API keys do"
            " not need it."
        ),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ["pattern"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(pattern="*", allows_credentials=True),
                name="no_credentials_for_every_origin",
                violation_error_message=_(
                    "Credentials for every site would let any page act as its visitor."
                ),
            )
        ]

    def __str__(self) -> str:
        return self.pattern

    @classmethod
    def write_missing(cls, patterns: list[str], **fields: Any) -> list[str]:
        """The patterns that had no row, and have one now, with these fields.

        Rows that are there stay as they are. Raises `ValidationError` for a wrong one,
        and writes none then.
        """
        known = set(
            cls.objects.filter(pattern__in=patterns).values_list("pattern", flat=True)
        )
        missing = [each for each in dict.fromkeys(patterns) if each not in known]
        with transaction.atomic():
            for pattern in missing:
                row = cls(pattern=pattern, **fields)
                row.full_clean()
                row.save()
            if missing:
                Revision.bump("origins")
        return missing
