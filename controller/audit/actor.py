"""Whose request it is that changes something.

django-auditlog's own middleware connects a signal's receiver for each request, and
believes any X-Forwarded-For; this one leaves the request where one receiver finds it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from auditlog.models import LogEntry
from django.conf import settings
from django.db.models.signals import pre_save
from django.http import HttpRequest, HttpResponse

from controller.addresses import client_ip
from controller.models import User

_request: ContextVar[HttpRequest | None] = ContextVar("audited_request", default=None)


class AuditMiddleware:
    """Changes made while a request is answered are those of its user and address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


def address_of(request: HttpRequest) -> str | None:
    """The client's own address; None where the connection has none."""
    peer = request.META.get("REMOTE_ADDR", "")
    forwarded = request.headers.get("X-Forwarded-For", "")
    return client_ip(peer, forwarded, settings.TRUSTED_PROXIES) or None


def sign(instance: LogEntry, **_signal: Any) -> None:
    """Receiver of `pre_save`: put actor and address on a new row."""
    request = _request.get()
    if request is None or instance.pk is not None:
        return
    user = getattr(request, "user", None)
    # Without a key: somebody who has just deleted the account.
    if instance.actor_id is None and isinstance(user, User) and user.pk is not None:
        instance.actor = user
    if instance.remote_addr is None:
        instance.remote_addr = address_of(request)


def connect() -> None:
    pre_save.connect(sign, sender=LogEntry, dispatch_uid="controller.audit.sign")
