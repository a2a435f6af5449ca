"""Comparisons of answers, as rows."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from chat.models.conversations import Message


class Comparison(models.Model):
    """One prompt that several models were asked at once, and which answer its reader
    finds best: from these rows ratings are computed. It holds no text, and outlives the
    conversation."""

    class Outcome(models.TextChoices):
        WINNER = "winner"
        TIE = "tie"
        ALL_BAD = "all_bad"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="comparisons"
    )
    prompt = models.OneToOneField(
        Message, models.SET_NULL, null=True, related_name="comparison"
    )
    # One for each column, in the order in which they are shown.
    answers = models.JSONField()
    parameters = models.JSONField()
    model_names = models.JSONField()
    # All answers of each column, oldest first, once a model was asked again; else [].
    versions = models.JSONField(default=list, db_default=[])
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    # The winner's place among them.
    winner = models.PositiveSmallIntegerField(null=True)
    created_at = models.DateTimeField(default=now, editable=False)
    voted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome="winner", winner__isnull=False)
                | Q(outcome__in=["", "tie", "all_bad"], winner=None),
                name="comparison_winner_where_one_won",
            ),
        ]
        indexes = [
            # ratings read the votes in their order
            models.Index(fields=["voted_at"], name="comparisons_by_vote")
        ]

    def __str__(self) -> str:
        return " | ".join(self.model_names)

    @property
    def columns(self) -> list[list[str]]:
        """Ids of the answers of each column, oldest first."""
        return self.versions or [[each] for each in self.answers]

    def column_of(self, answer_id: uuid.UUID | None) -> int | None:
        """The place of the column that this answer is or was in, if any."""
        wanted = str(answer_id)
        places = (index for index, ids in enumerate(self.columns) if wanted in ids)
        return next(places, None)

    def show(self, index: int, answer_id: uuid.UUID) -> None:
        """Have the column show this answer, a new version if it was in none."""
        if self.column_of(answer_id) is None:
            versions = self.columns
            versions[index].append(str(answer_id))
            self.versions = versions
        self.answers[index] = str(answer_id)
        self.save(update_fields=["answers", "versions"])
