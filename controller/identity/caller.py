"""Who is asking, in the one shape that everything below the edges knows."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """A credential, resolved: made once at the edge, whatever it was."""

    face: str
    """One of `LedgerEntry.Face`."""
    identity: str
    """What concurrent requests are counted by, such as `key:17` or `user:3`."""
    user_id: int | None = None
    key_id: int | None = None
    team_id: int | None = None
    """The one that a key belongs to, or that a guest speaks for."""
    teams: frozenset[int] = frozenset()
    """Whose rules hold: a key's team, or all those of somebody who signed in."""
    scopes: frozenset[str] = frozenset({"inference"})
    allowed_models: frozenset[str] | None = None
    """Names this caller may ask for; None: every model."""
    max_concurrent: int | None = None
    guest_link_id: int | None = None
    """Of a guest: the link that lets them chat."""
    ends_at: datetime | None = None
    """Of a guest: when it ends."""

    @property
    def has_models_of_its_own(self) -> bool:
        """Whether an operator named the models that guests are let in for: those are
        open to them, whatever teams they are for."""
        return self.guest_link_id is not None and self.allowed_models is not None

    def may_use(self, *names: str) -> bool:
        """Whether one of a model's names is allowed to this caller."""
        allowed = self.allowed_models
        return allowed is None or any(name in allowed for name in names)


def chat_caller(user_id: int, teams: frozenset[int] = frozenset()) -> Caller:
    """The caller that a signed-in user is on the chat page; `Gateway.chat_caller` knows
    their teams."""
    return Caller(face="chat", identity=f"user:{user_id}", user_id=user_id, teams=teams)


def guest_caller(face: str, max_concurrent: int) -> Caller:
    """Everybody without a right key on an open gateway, together."""
    return Caller(face=face, identity="guest", max_concurrent=max_concurrent)
