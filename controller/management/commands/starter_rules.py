"""`manage.py starter_rules`: moderation rules for secrets and personal data."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controller.models import ModerationRule
from controller.moderation.starters import StarterSet, install


class Command(BaseCommand):
    help = (
        "Add moderation rules that find secrets and personal data in prompts and"
        " answers. Those whose names are there already stay as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "sets",
            nargs="*",
            metavar="SET",
            help=f"{', '.join(StarterSet.values)}; none named: both",
        )
        parser.add_argument(
            "--action",
            choices=ModerationRule.Action.values,
            default=ModerationRule.Action.FLAG.value,
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sets = options["sets"] or StarterSet.values
        for name in sets:
            if name not in StarterSet.values:
                known = ", ".join(StarterSet.values)
                raise CommandError(f"There is no set {name!r}. There are: {known}.")
        action = ModerationRule.Action(options["action"])
        for rule in (added := install(sets, action)):
            self.stdout.write(f"{rule.category}: {rule.name}")
        self.stdout.write(f"{len(added)} rule(s) added, which {action.value}.")
