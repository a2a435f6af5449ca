"""What guests may open: the chat and what is theirs in it, and nothing else."""

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from controller.accounts.gate import Gate
from controller.models import User

INVITATION = "chat:guest"
OVER = "chat:guest_over"
# The same for everybody: nobody is asked who they are.
FOR_ALL = {
    OVER,
    "site_logo",
    "chat:shared",
    "chat:language",
    "chat:manifest",
    "chat:service_worker",
    "chat:offline",
    "chat:diagrams",
}
# Their own conversations, and the way out.
PAGES = {
    "account_logout",
    INVITATION,
    "chat:home",
    "chat:conversation",
    "chat:export",
    "chat:library",
    "chat:attachment",
    "chat:terms",
}
# What those pages' scripts ask for: JSON, a 401 to strangers.
CALLS = {
    "chat:listed",
    "chat:search",
    "chat:change",
    "chat:readers_of",
    "chat:check_setup",
    "chat:setup",
    "chat:shelves",
    "chat:add_preset",
    "chat:attachments",
}
# What is not here does not exist for guests.
FOR_GUESTS = PAGES | CALLS


class GuestMiddleware(Gate):
    """Answers 404 to guests for all but the chat, and leads those out whose link is
    over."""

    def answer_instead(self, request: HttpRequest, name: str) -> HttpResponse | None:
        # Without a cookie it is a stranger; their pages need no session for this.
        if name in FOR_ALL or settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        user = request.user
        if not isinstance(user, User) or user.guest_link is None:
            return None
        if not user.guest_link.is_open:
            if name in CALLS:
                # No script reads a page; the next page that is asked for says why.
                request.user = AnonymousUser()
                return None
            return _led_out(request, name)
        if name not in FOR_GUESTS:
            raise Http404
        return None


def _led_out(request: HttpRequest, name: str) -> HttpResponse | None:
    """To the page that says why; but another invitation is read by a stranger."""
    logout(request)
    if name == INVITATION:
        return None
    if "chat" not in settings.SERVED_ROLES:
        raise Http404
    return HttpResponseRedirect(reverse(OVER))
