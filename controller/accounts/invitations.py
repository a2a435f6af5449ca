"""Links by which somebody may make an account."""

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from controller.identity import secrets
from controller.models import Invitation

PARAMETER = "invitation"
# The session keeps the row's id, not the secret: a stolen session table opens nothing.
SESSION_KEY = "invitation_id"


def invitation_path(secret: str) -> str:
    """The path, with query, that an invited person opens."""
    return f"{reverse('account_signup')}?{urlencode({PARAMETER: secret})}"


def presented_invitation(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link this visitor followed, now or a page ago."""
    secret = request.GET.get(PARAMETER, "")
    if secrets.has_right_checksum(secret, secrets.INVITATION):
        found = Invitation.objects.open().filter(digest=secrets.digest(secret)).first()
        if found:
            request.session[SESSION_KEY] = found.pk
        return found
    invitation_id = request.session.get(SESSION_KEY)
    if invitation_id is None:
        return None
    return Invitation.objects.open().filter(pk=invitation_id).first()


def forget_invitation(request: HttpRequest) -> None:
    """The link is used up, or was of no use."""
    request.session.pop(SESSION_KEY, None)
