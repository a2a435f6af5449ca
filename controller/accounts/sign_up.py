"""Who may make an account: what SIGN_UP and SOCIAL_SIGN_UP say, and invitations."""

from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import render

from controller.accounts import approval
from controller.accounts.invitations import forget_invitation, presented_invitation
from controller.models import User

# Modes in which nobody needs to have been invited.
UNINVITED = ("open", "approval")


def mode(*, by_provider: bool = False) -> str:
    """`open`, `invitation`, `approval` or `closed`: for those whom a provider of
    sign-in vouches for, SOCIAL_SIGN_UP."""
    return settings.SOCIAL_SIGN_UP if by_provider else settings.SIGN_UP


def is_open_to(request: HttpRequest, *, by_provider: bool = False) -> bool:
    """Whether this visitor may make an account."""
    wanted = mode(by_provider=by_provider)
    if wanted == "closed":
        return False
    # Looked at in the open mode too: the link is then used up all the same.
    invitation = presented_invitation(request)
    return wanted in UNINVITED or invitation is not None


def admit(request: HttpRequest, user: User, *, by_provider: bool = False) -> None:
    """Use up the invitation of a new account, or leave the account to an operator.

    Call it in the transaction that made the account: of two people with one
    invitation, the later one's account is undone, and the answer says so.
    """
    invitation = presented_invitation(request)
    forget_invitation(request)
    # A provider may say another address; a form refuses it before.
    if invitation and invitation.is_for(user.email) and invitation.accept(user):
        return
    match mode(by_provider=by_provider):
        case "open":
            return
        case "approval":
            approval.ask(user)
        case _:
            raise ImmediateHttpResponse(
                render(request, "account/signup_closed.html", status=403)
            )
