"""What a list says while it has no row: what comes there, and how."""

from typing import Any

from django.db.models import Model
from django.utils.translation import gettext_lazy as _

WORDS: dict[str, Any] = {
    "controller.worker": _(
        "Workers join by themselves; “Add a worker” makes the command."
    ),
    "controller.servedmodel": _("Models appear here when a worker joins with them."),
    "controller.adapter": _(
        "LoRA adapters that workers are to load on top of a model."
    ),
    "controller.jointoken": _("A worker joins with a token, which is made here."),
    "controller.team": _("Teams share models, keys, limits and rules."),
    "controller.apikey": _(
        "Programs call the API with keys. People make their own on the site, too."
    ),
    "controller.limit": _("Nobody is held to a limit or a budget."),
    "controller.budgetalert": _("No budget has reached a threshold."),
    "controller.limitrequest": _("Nobody has asked for more than their limit."),
    "controller.invitation": _("By an invitation's link one person makes an account."),
    "controller.guestlink": _(
        "By a guest link people chat for a while without an account."
    ),
    "controller.allowedorigin": _(
        "No page of another site may call the API from a browser. Name those that may."
    ),
    "controller.moderationrule": _(
        "Nothing is looked for in prompts and answers. “Starter rules” has some for"
        " secrets and personal data."
    ),
    "controller.moderationflag": _(
        "What rules find, and what readers report, comes here for a verdict."
    ),
    "controller.ban": _("Nobody is banned. Enough strikes ban somebody for a while."),
    "controller.classifier": _(
        "A moderation endpoint, or a model of this site, can judge prompts: a rule"
        " names it."
    ),
    "controller.ledgerentry": _("Each request of the chat and the API leaves a row."),
    "controller.enginestart": _(
        "Each start of an engine leaves a row, with what it and the ledger counted."
    ),
    "controller.announcement": _("What you announce stands above every page."),
    "controller.termsversion": _(
        "There are no terms. What is published here people agree to before they use the"
        " chat."
    ),
    "controller.termsconsent": _("Nobody has agreed to terms yet."),
    "controller.deletionreceipt": _(
        "Each account that is deleted leaves a receipt, which names nobody."
    ),
    "mfa.authenticator": _("People set up second factors in their accounts."),
    "socialaccount.socialaccount": _("Nobody signs in by a provider yet."),
    "usersessions.usersession": _("Nobody is signed in."),
    "chat.preset": _("Presets that everybody finds in the chat."),
    "chat.savedprompt": _("Prompts that everybody finds in the chat."),
    "chat.comparison": _("Votes appear here when people compare models side by side."),
    "chat.message": _("Ratings appear here when readers rate answers."),
    "chat.sharedlink": _("Nobody has shared a conversation by a link."),
}


def words_of(model: type[Model]) -> Any:
    """The sentence for this kind of row; "" for one that no site is without."""
    return WORDS.get(model._meta.label_lower, "")
