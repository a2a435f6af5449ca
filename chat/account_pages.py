"""The pages on which people take their account home, or delete it; their language."""

from collections.abc import AsyncIterator
from typing import IO, Any, cast

from allauth.account.decorators import reauthentication_required
from asgiref.sync import sync_to_async
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django.views.i18n import set_language

from chat.key_pages import page
from controller.accounts.deletion import check_deletable, delete_account
from controller.accounts.export import export_account
from controller.models import DeletionReceipt, User

CHUNK_SIZE = 64 * 1024


class DeletionForm(forms.Form):
    """Deleting is confirmed by typing one's own name."""

    name = forms.CharField(
        label=gettext_lazy("Your username"),
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.user.get_username():
            raise ValidationError(_("This is not your username."))
        return name

    def clean(self) -> None:
        check_deletable(self.user)


def choose_language(request: HttpRequest) -> HttpResponseBase:
    """Django's own view, which has the browser keep it; letters follow it, too."""
    answer = set_language(request)
    chosen = answer.cookies.get(settings.LANGUAGE_COOKIE_NAME)
    if chosen and isinstance(request.user, User):
        request.user.choose_language(chosen.value)
    return answer


@page
def data_page(request: HttpRequest) -> HttpResponse:
    """What can be taken home, and the way out."""
    return render(request, "chat/account_data.html")


@page
@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def export_data(request: HttpRequest) -> StreamingHttpResponse:
    """Everything about the account as a ZIP."""
    user = _user(request)
    content = _chunks(export_account(user))
    response = StreamingHttpResponse(content, content_type="application/zip")
    name = f"{user.get_username()}-{now():%Y-%m-%d}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


@page
@reauthentication_required  # type: ignore[untyped-decorator]
def delete_page(request: HttpRequest) -> HttpResponse:
    """Asks for the username; then the account is gone, and the receipt is shown."""
    user = _user(request)
    form = DeletionForm(user, request.POST or None)
    if not form.is_valid():
        return render(request, "chat/account_delete.html", {"form": form})
    receipt = delete_account(user)
    request.session.flush()
    context = {"receipt": receipt, "user": None}
    return render(request, "chat/account_deleted.html", context)


@never_cache
@require_safe
def receipt_file(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """A receipt, for whoever knows its id: it names nobody."""
    receipt = get_object_or_404(DeletionReceipt, pk=receipt_id)
    response = HttpResponse(receipt.copy(), content_type="application/json")
    name = f"deletion-{receipt.pk}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """The file in pieces, read off the loop; closed at the end."""
    read = sync_to_async(file.read, thread_sensitive=False)
    with file:
        while chunk := await read(CHUNK_SIZE):
            yield chunk


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)  # login_required
