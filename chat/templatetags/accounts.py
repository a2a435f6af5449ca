"""What the account pages must know of the site, and of their reader."""

import re
from dataclasses import dataclass

from allauth.socialaccount.adapter import get_adapter
from django import template
from django.conf import settings
from django.template import Context
from django.urls import reverse
from django.utils.translation import gettext as _

from controller.accounts import second_factor

register = template.Library()

# The first that a browser's line names: Edge and Opera also say Chrome, Chrome also
# says Safari.
BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari")
BROWSER_NAMES = {"Edg": "Edge", "OPR": "Opera"}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Macintosh": "macOS",
    "Linux": "Linux",
}


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    label: str


@register.simple_tag
def sign_up_mode() -> str:
    """Who may make an account: `open`, `invitation`, `approval` or `closed`."""
    return settings.SIGN_UP


@register.simple_tag
def sends_letters() -> bool:
    """Whether there is a mail server; without one letters stand in the server's log."""
    return bool(settings.EMAIL_HOST)


@register.simple_tag(takes_context=True)
def second_factor_is_missing(context: Context) -> bool:
    """Whether the reader must set up a second factor before anything else."""
    return second_factor.is_missing(context["user"])


@register.simple_tag(takes_context=True)
def account_links(context: Context) -> list[Link]:
    """The pages of the reader's own account."""
    links = [
        Link(reverse("account_email"), _("E-mail")),
        Link(reverse("account_change_password"), _("Password")),
        Link(reverse("mfa_index"), _("Second factor")),
        Link(reverse("usersessions_list"), _("Sessions")),
    ]
    if get_adapter().list_apps(context["request"]):
        links.append(Link(reverse("socialaccount_connections"), _("Connections")))
    if "chat" in settings.SERVED_ROLES:
        links.append(Link(reverse("chat:teams"), _("Teams")))
        links.append(Link(reverse("chat:data"), _("Your data")))
    return links


@register.filter
def browser_name(user_agent: str) -> str:
    """Browser and system in a word each, such as `Firefox, Linux`; what the browser
    says itself if it is none that we know."""
    browser = next((each for each in BROWSERS if f"{each}/" in user_agent), "")
    system = next((SYSTEMS[each] for each in SYSTEMS if each in user_agent), "")
    names = [BROWSER_NAMES.get(browser, browser), system]
    return ", ".join(filter(None, names)) or re.split(r"[ /]", user_agent)[0]
