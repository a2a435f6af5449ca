"""Answers that a reader puts before the moderators, beside what rules have found."""

from controller.identity import encryption
from controller.models import LedgerEntry, ModerationFlag, ModerationRule, User
from controller.moderation.flags import MAX_EXCERPT_CHARS

NAME = "Reported by a reader"
CATEGORY = "reported"


def report(user: User, *, request_id: str, model: str, text: str, reason: str) -> None:
    """Put an answer of the chat among the flags, with the reader's reason and the
    beginning of its text."""
    excerpt = text[:MAX_EXCERPT_CHARS]
    told = f"{reason}\n\n{excerpt}" if reason else excerpt
    ModerationFlag.objects.create(
        request_id=request_id,
        face=LedgerEntry.Face.CHAT,
        model=model,
        user=user,
        rule_name=NAME,
        category=CATEGORY,
        direction=ModerationRule.Direction.OUTPUT,
        action=ModerationRule.Action.FLAG,
        encrypted_excerpt=encryption.encrypt(told),
    )
