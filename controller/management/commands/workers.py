"""`manage.py workers`: see the fleet, and decide about workers, without the admin."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from controller.durations import rough
from controller.fleet.listing import list_workers
from controller.fleet.worker_states import ShownState, with_shown_state
from controller.models import Worker

COLUMNS = ("ID", "ADDRESS", "MODELS", "STATE", "RUN", "WAIT", "HEARD", "ENGINE")
SHOWN_ID = 8  # digits: what tells workers apart, and what the other actions take
DONE = {"drain": "Drained", "resume": "Resumed", "remove": "Removed"}


class Command(BaseCommand):
    help = "List workers, or decide about one; web processes follow within a second."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="registered workers, live or not")
        listing.add_argument("--json", action="store_true", help="for programs")
        for action, what in (
            ("drain", "finish what is in flight, take no more; it stays registered"),
            ("resume", "end the drain"),
            ("remove", "out of the fleet; a join token brings it back"),
        ):
            deciding = actions.add_parser(action, help=what)
            deciding.add_argument(
                "worker", nargs="+", help="beginning of its id or address"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self.stdout.write(_as_json() if options["json"] else _as_table())
            return
        # All are found before any is changed: a typing error changes nothing.
        chosen = [_find(beginning) for beginning in options["worker"]]
        _decide(options["action"], chosen)
        for worker in chosen:
            done = DONE[options["action"]]
            text = f"{done} {str(worker.pk)[:SHOWN_ID]} at {worker}."
            self.stdout.write(self.style.SUCCESS(text))


def _decide(action: str, chosen: Sequence[Worker]) -> None:
    workers = Worker.objects.filter(pk__in=[worker.pk for worker in chosen])
    if action == "remove":
        workers.remove()
    else:
        workers.change(drain_wished=action == "drain", stop_wished=False)


def _find(beginning: str) -> Worker:
    """The one registered worker that the operator means. Raises `CommandError`."""
    found = list(
        Worker.objects.registered().filter(
            # An address may be typed without its scheme, an id with or without dashes.
            Q(pk__in=_ids(beginning))
            | Q(address__istartswith=beginning)
            | Q(address__istartswith=f"http://{beginning}")
            | Q(address__istartswith=f"https://{beginning}")
        )
    )
    if not found:
        raise CommandError(
            f"No registered worker's id or address begins with {beginning!r}."
            " See `manage.py workers list`."
        )
    if len(found) > 1:
        listed = ", ".join(f"{str(one.pk)[:SHOWN_ID]} at {one}" for one in found)
        raise CommandError(f"{beginning!r} may mean {listed}. Give more of one.")
    return found[0]


def _ids(beginning: str) -> list[Any]:
    """Ids that begin so; compared here, since databases store them differently."""
    digits = beginning.replace("-", "").lower()
    ids = Worker.objects.registered().values_list("pk", flat=True)
    return [each for each in ids if each.hex.startswith(digits)]


def _as_json() -> str:
    return json.dumps(list_workers(), indent=2, default=str)


def _as_table() -> str:
    workers = with_shown_state(
        Worker.objects.registered().prefetch_related("placements__served_model")
    )
    rows = [_row(worker) for worker in workers]
    if not rows:
        return "No worker is registered. `manage.py join_token` makes what one needs."
    table = [COLUMNS, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(COLUMNS))]
    return "\n".join(_line(row, widths) for row in table)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def _row(worker: Any) -> tuple[str, ...]:
    path = "" if worker.base_path == "/v1" else worker.base_path
    names = sorted(placed.served_model.name for placed in worker.placements.all())
    return (
        str(worker.pk)[:SHOWN_ID],
        worker.address + path,
        ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else ""),
        str(ShownState(worker.shown_state).label),
        str(worker.running),
        str(worker.waiting),
        f"{rough(worker.silence)} ago",
        f"{worker.engine} {worker.engine_version}".strip(),
    )
