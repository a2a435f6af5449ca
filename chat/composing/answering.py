"""Views that answer the page's script: JSON, for those who are signed in."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat.errors import UnreadableMessage
from controller.errors import AuthenticationFailed, SwitchyardError, error_dict
from controller.models import User

View = Callable[..., HttpResponseBase]


def answering(*methods: str) -> Callable[[View], View]:
    """A view of these methods that no cache keeps; what it raises is answered in the
    shape of `/v1`, and 401 to strangers: a script cannot follow a redirect to a form.
    """

    def decorated(view: View) -> View:
        @wraps(view)
        def answered(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            try:
                if not request.user.is_authenticated:
                    raise AuthenticationFailed(_("You are signed out."))
                return view(request, **kwargs)
            except SwitchyardError as exc:
                return JsonResponse(_refusal(exc), status=exc.status)

        allowed = require_http_methods(list(methods))(answered)
        return never_cache(allowed)

    return decorated


def _refusal(exc: SwitchyardError) -> dict[str, Any]:
    fields = getattr(exc, "fields", None)
    return {**error_dict(exc), **({"fields": fields} if fields else {})}


def user_of(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # `answering` has looked
    return request.user


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The JSON object that was sent. Raises `UnreadableMessage`."""
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise UnreadableMessage(f"The body is not understood: {exc}.") from exc
