"""Rules about prompts and answers, and what was found by them."""

from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from controller.identity import encryption
from controller.models.bans import Ban
from controller.models.classifiers import Classifier
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

    class OnFailure(models.TextChoices):
        OPEN = "open", _("Fail open: let the prompt pass, and note it in the log")
        CLOSED = "closed", _("Fail closed: refuse the prompt, and say when to retry")

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
        # The same word is another one in "terms of use".
        pgettext_lazy("moderation", "terms"),
        blank=True,
        help_text=_(
            "One a line, as text: in any case, also inside longer words, full-width or"
            " with invisible characters."
        ),
    )
    whole_words = models.BooleanField(
        _("whole words only"),
        default=False,
        db_default=False,
        help_text=_(
            "Not inside longer words. Chinese, Japanese, Thai and other scripts without"
            " spaces are found everywhere all the same."
        ),
    )
    pattern = models.TextField(
        _("pattern"),
        blank=True,
        help_text=_(r"In RE2's syntax and any case, such as \bACME-\d{4,6}\b"),
    )
    classifier = models.ForeignKey(
        Classifier,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("classifier"),
        help_text=_("In place of terms and pattern: what judges the text."),
    )
    classifier_categories = models.JSONField(
        _("its categories"),
        default=list,
        blank=True,
        db_default=[],
        help_text=_("Those that count, such as violence; none named: all."),
    )
    on_failure = models.CharField(
        _("when it does not answer"),
        max_length=10,
        choices=OnFailure,
        default=OnFailure.OPEN,
        db_default=OnFailure.OPEN,
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
                condition=Q(pattern="", classifier=None) & ~Q(terms="")
                | Q(terms="", classifier=None) & ~Q(pattern="")
                | Q(terms="", pattern="", classifier__isnull=False),
                name="moderation_rule_looks_for_one_thing",
                violation_error_message=_(
                    "Write either terms or a pattern, or choose a classifier."
                ),
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
        if self.classifier_id is not None:
            problems |= self._problems_of_a_classifier()
        if wrong := {field: words for field, words in problems.items() if words}:
            raise ValidationError(wrong)

    def _problems_of_a_classifier(self) -> dict[str, list[Any]]:
        """It judges whole prompts, and says neither where nor what."""
        return {
            "direction": []
            if self.direction == self.Direction.INPUT
            else [_("A classifier reads prompts; answers would have to wait for it.")],
            "action": []
            if self.action != self.Action.REDACT
            else [_("A classifier does not tell what to redact: block or flag.")],
        }

    @property
    def term_lines(self) -> list[str]:
        """The terms, each once, without the white space around them."""
        stripped = (line.strip() for line in self.terms.splitlines())
        return list(dict.fromkeys(filter(None, stripped)))


class ModerationFlagQuerySet(models.QuerySet["ModerationFlag"]):
    def waiting(self) -> Self:
        """Flags that nobody has judged yet."""
        return self.filter(verdict=ModerationFlag.Verdict.OPEN)

    def strikes_of(self, user_id: int) -> Self:
        """The flags that count against this user: confirmed, of late, and not the
        reason of a ban that there was already."""
        since = now() - timedelta(days=settings.MODERATION_STRIKE_DAYS)
        confirmed = self.filter(user=user_id, verdict=ModerationFlag.Verdict.CONFIRMED)
        return confirmed.filter(ban=None, created_at__gte=since)

    def num_requests(self) -> int:
        """In how many requests these were found: several in one are one strike."""
        return self.order_by().values("request_id").distinct().count()


class ModerationFlag(models.Model):
    """That a rule has matched in a request: one row for both and direction.

    Foreign keys carry no database constraint, as those of the ledger.
    """

    class Verdict(models.TextChoices):
        OPEN = "open", _("waiting")
        RELEASED = "released", _("released")
        CONFIRMED = "confirmed", _("confirmed")

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
    verdict = models.CharField(
        _("verdict"),
        max_length=10,
        choices=Verdict,
        default=Verdict.OPEN,
        db_default=Verdict.OPEN,
    )
    verdict_note = models.CharField(
        _("note"), max_length=500, blank=True, db_default=""
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True)
    # The ban that it was a strike for.
    ban = models.ForeignKey(
        Ban, models.SET_NULL, null=True, related_name="strikes", verbose_name=_("ban")
    )

    objects = ModerationFlagQuerySet.as_manager()

    class Meta:
        verbose_name = _("moderation flag")
        ordering = ["-id"]
        permissions = [("view_message_text", _("Can read what people write"))]
        indexes = [
            # the review queue: what nobody has judged, latest first
            models.Index(fields=["verdict", "-id"], name="moderation_flag_queue"),
            # the strikes of one user
            models.Index(fields=["user", "verdict"], name="moderation_flag_strikes"),
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
