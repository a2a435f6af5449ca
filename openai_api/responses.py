"""Answers that are made here, not relayed."""

from typing import Any

import msgspec
from django.http import HttpResponse


def json_response(content: dict[str, Any]) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(content), content_type="application/json")
