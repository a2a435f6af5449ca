"""Actions of lists that ask before they are done, as Django's own deletion does."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

Action = Callable[[Any, HttpRequest, Any], Any]
SHOWN_ROWS = 20


def confirmed(consequence: Any) -> Callable[[Action], Action]:
    """Have the action ask first, on a page that names the rows and says what follows.

    `consequence` is a sentence, translated when it is shown.
    """

    def asking(action: Action) -> Action:
        @wraps(action)
        def ask_or_act(page: Any, request: HttpRequest, rows: QuerySet[Any]) -> Any:
            if "post" in request.POST:
                return action(page, request, rows)
            return _ask(page, request, rows, consequence)

        return ask_or_act

    return asking


def _ask(
    page: Any, request: HttpRequest, rows: QuerySet[Any], consequence: Any
) -> HttpResponse:
    name = request.POST["action"]
    _function, _name, words = page.get_actions(request)[name]
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": words,
        "consequence": consequence,
        "rows": rows[:SHOWN_ROWS],
        "num_more": max(0, rows.count() - SHOWN_ROWS),
        "action": name,
        # What was chosen there is asked for again; all of a list by one word.
        "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox": ACTION_CHECKBOX_NAME,
        "is_across": request.POST.get("select_across") == "1",
        "list_url": request.get_full_path(),
    }
    return TemplateResponse(request, "controller/admin/confirm_action.html", context)
