"""Rules about prompts and answers, and what was found by them."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.identity import encryption
from controller.models.ledger import LedgerEntry
from controller.moderation.matching import check_pattern, check_term
from controller.moderation.patterns import CannotMatch

MAX_TERMS = 20_000


class ModerationRule(models.Model):
    """What is looked for, where, and what is done when it is found."""

    class Direction(models.TextChoices):
        INPUT = "input", _("Input: what models are asked")
        OUTPUT = "output", _("Output: what they answer")
        BOTH = "both", _("Both")

    class Action(models.TextChoices):
        BLOCK = "block", _("Block: refuse the prompt, end the answer")
        REDACT = "redact", _("Redact: put [redacted] in its place")
        FLAG = "flag", _("Flag: only note it")

    name = models.CharField(_("name"), max_length=100, unique=True)
    category = models.CharField(
        _("category"),
        max_length=50,
        validators=[
            RegexValidator(
                r"^[a-z][a-z0-9_/-]*$",
                _("Write a name in small letters, such as trade-secrets or violence."),
            )
        ],
        help_text=_("The one thing that people are told of the rule that stops them."),
    )
    terms = models.TextField(
        _("terms"),
        blank=True,
        help_text=_(
            "One a line, as text: in any case, also inside longer words, full-width or"
            " with invisible characters."
        ),
    )
    pattern = models.TextField(
        _("pattern"),
        blank=True,
        help_text=_(r"In RE2's syntax and any case, such as \bACME-\d{4,6}\b"),
    )
    direction = models.CharField(
        _("direction"), max_length=10, choices=Direction, default=Direction.INPUT
    )
    action = models.CharField(
        _("action"), max_length=10, choices=Action, default=Action.FLAG
    )
    faces = models.JSONField(
        _("faces"), default=list, blank=True, help_text=_("None chosen: all.")
    )
    served_models = models.JSONField(
        _("models"), default=list, blank=True, help_text=_("None named: all.")
    )
    teams = models.JSONField(
        _("teams"), default=list, blank=True, help_text=_("None chosen: everybody.")
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"),
        default=100,
        help_text=_("Where several rules block, the smallest number is the one told."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name = _("moderation rule")
        ordering = ["priority", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(terms="") ^ Q(pattern=""),
                name="moderation_rule_has_terms_or_a_pattern",
                violation_error_message=_("Write either terms or a pattern."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what cannot be matched, and say why."""
        problems: dict[str, list[Any]] = {"terms": [], "pattern": []}
        lines = self.term_lines
        if len(lines) > MAX_TERMS:
            problems["terms"].append(
                _("These are %(given)d terms, and a rule has %(most)d at most.")
                % {"given": len(lines), "most": MAX_TERMS}
            )
        for term in lines:
            try:
                check_term(term)
            except CannotMatch as exc:
                problems["terms"].append(str(exc))
        try:
            if self.pattern:
                check_pattern(self.pattern, self.direction != self.Direction.INPUT)
        except CannotMatch as exc:
            problems["pattern"].append(str(exc))
        if wrong := {field: words for field, words in problems.items() if words}:
            raise ValidationError(wrong)

    @property
    def term_lines(self) -> list[str]:
        """The terms, each once, without the white space around them."""
        stripped = (line.strip() for line in self.terms.splitlines())
        return list(dict.fromkeys(filter(None, stripped)))


class ModerationFlag(models.Model):
    """That a rule has matched in a request: one row for both and direction.

    Foreign keys carry no database constraint, as those of the ledger.
    """

    request_id = models.CharField(max_length=64)
    face = models.CharField(max_length=10, choices=LedgerEntry.Face)
    model = models.CharField(max_length=200)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    key = models.ForeignKey(
        "controller.ApiKey",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    team = models.ForeignKey(
        "controller.Team",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    rule = models.ForeignKey(
        ModerationRule,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    # As they were then: the rule may be another by now, or gone.
    rule_name = models.CharField(max_length=100)
    category = models.CharField(max_length=50)
    direction = models.CharField(max_length=10, choices=ModerationRule.Direction)
    action = models.CharField(max_length=10, choices=ModerationRule.Action)
    encrypted_excerpt = models.TextField(blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        verbose_name = _("moderation flag")
        ordering = ["-id"]
        indexes = [
            # retention deletes by age; the admin filters by day
            models.Index(fields=["created_at"], name="moderation_flag_by_age"),
            # the admin's search by the id that the client knows
            models.Index(fields=["request_id"], name="moderation_flag_by_request"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name} in {self.request_id}"

    @property
    def excerpt(self) -> str:
        """What was found, and a little around it.

        Raises `cryptography.fernet.InvalidToken` where none of FIELD_KEYS fits.
        """
        return encryption.decrypt(self.encrypted_excerpt)
