"""What the controller persists: identity, the fleet, the ledger, moderation and the
revision."""

from controller.models.accounts import DeletionReceipt
from controller.models.alerts import BudgetAlert
from controller.models.bans import Ban
from controller.models.classifiers import Classifier
from controller.models.engines import EngineStart
from controller.models.fleet import (
    Adapter,
    JoinToken,
    ModelAlias,
    Placement,
    ServedModel,
    Worker,
    WorkerBreaker,
)
from controller.models.guests import GuestLink
from controller.models.identity import ApiKey, Invitation, Membership, Team, User
from controller.models.ledger import LedgerEntry
from controller.models.limits import Lease, Limit, LimitRequest, Spending
from controller.models.moderation import ModerationFlag, ModerationRule
from controller.models.notices import Announcement, TermsConsent, TermsVersion
from controller.models.origins import AllowedOrigin
from controller.models.revision import ProcessHeard, Revision
from controller.models.usage import LedgerHour, UsageDay, UsageHour
from controller.models.watching import WorkerLog, WorkerSample

__all__ = [
    "Adapter",
    "AllowedOrigin",
    "Announcement",
    "ApiKey",
    "Ban",
    "BudgetAlert",
    "Classifier",
    "DeletionReceipt",
    "EngineStart",
    "GuestLink",
    "Invitation",
    "JoinToken",
    "Lease",
    "LedgerEntry",
    "LedgerHour",
    "Limit",
    "LimitRequest",
    "Membership",
    "ModelAlias",
    "ModerationFlag",
    "ModerationRule",
    "Placement",
    "ProcessHeard",
    "Revision",
    "ServedModel",
    "Spending",
    "Team",
    "TermsConsent",
    "TermsVersion",
    "UsageDay",
    "UsageHour",
    "User",
    "Worker",
    "WorkerBreaker",
    "WorkerLog",
    "WorkerSample",
]
