"""`manage.py purge`: delete what is due, or say what that would be."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controller import retention


class Command(BaseCommand):
    help = (
        "Delete now what is older than the settings say; the task worker does the same"
        " every 15 minutes. With --preview nothing is deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--preview", action="store_true", help="say what would be deleted, and why"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for kind in retention.kinds():
            if options["preview"]:
                self.stdout.write(_previewed(retention.preview(kind)))
            else:
                self.stdout.write(f"{kind.name}: {kind.purge()} deleted")


def _previewed(preview: retention.Preview) -> str:
    kind = preview.kind
    oldest = f"{preview.oldest:%Y-%m-%d %H:%M}" if preview.oldest else "none"
    return (
        f"{kind.name}: {preview.num_due} of {preview.num_rows} due,"
        f" oldest {oldest} ({kind.setting}={kind.setting_value})"
    )
