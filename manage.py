#!/usr/bin/env python
"""Django's command line for Switchyard."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError


def say_if_unprepared() -> None:
    """Exit with one line if that is why a command failed in the database."""
    # Late: models are not to be loaded before Django is set up.
    from controller.management.migrated import missing_migrations

    if reason := missing_migrations():
        sys.exit(reason)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        sys.exit(f"{exc}")  # one line with the repair, not where it was noticed
    except DatabaseError:
        say_if_unprepared()
        raise
