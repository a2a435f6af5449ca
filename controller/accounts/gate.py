"""What stands before the views of pages."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse


class Gate:
    """Middleware that may answer in a view's place."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        return self.answer_instead(request, match.view_name if match else "")

    def answer_instead(self, request: HttpRequest, name: str) -> HttpResponse | None:
        """The answer; None: let the view be asked. `name` is the view's, with its
        namespace (`admin:…`, `chat:…`), empty where it has none."""
        raise NotImplementedError
