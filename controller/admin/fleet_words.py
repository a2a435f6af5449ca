"""What the scripts of the fleet's pages say, in the operator's language."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from controller.durations import ROUGH
from controller.fleet.worker_states import COLOURS, ShownState


def fleet_words() -> dict[str, Any]:
    return {
        "states": {state.value: str(state.label) for state in ShownState},
        "colours": {state.value: colour for state, colour in COLOURS.items()},
        "breakers": {
            "": pgettext("breaker", "closed"),
            "open": pgettext("breaker", "open"),
            "half-open": _("on trial"),
        },
        "ago": _("%s ago"),
        # from the largest on; durations on these pages change by the second
        "durations": [[size, str(words)] for size, words in ROUGH],
        "seconds": _("%s s"),
        "noWorkers": _("No worker"),
        "workers": _("%s workers"),
        "worker": _("1 worker"),
        "connected": _("live"),
        "connecting": _("connecting"),
        "away": _("not connected: trying again"),
        "signedOut": _("signed out: load the page again"),
        "failed": _("That did not work. Load the page again, and try once more."),
        "logAsked": _("Asked: it comes with the worker's next heartbeat."),
        "logEmpty": _("The worker has said nothing yet."),
        "logAt": _("As of %s."),
        "noRequests": _("Nothing of this web process is under way there."),
        "decisions": {
            "drain": {
                "title": _("Drain this worker?"),
                "text": _(
                    "It finishes what it has and is sent nothing more. It stays"
                    " registered, and can be resumed."
                ),
                "button": _("Drain"),
            },
            "resume": {
                "title": _("Resume this worker?"),
                "text": _("It is sent requests again."),
                "button": _("Resume"),
            },
            "weigh": {
                "title": _("What share should it get?"),
                "text": _(
                    "A worker of weight 2 gets twice what one of weight 1 gets. To send"
                    " it nothing, drain it."
                ),
                "button": _("Set the weight"),
            },
            "rotate_key": {
                "title": _("Change its engine's key?"),
                "text": _(
                    "Its agent makes a new key and joins with it. Nothing is"
                    " interrupted: the old one is good for a minute more."
                ),
                "button": _("Change the key"),
            },
            "remove": {
                "title": _("Remove this worker?"),
                "text": _(
                    "What it has under way goes on, and nothing more is sent to it. It"
                    " needs a new join token to come back."
                ),
                "button": pgettext("worker", "Remove"),
            },
        },
    }
