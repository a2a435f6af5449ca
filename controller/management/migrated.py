"""Whether the database has been prepared: said in a line, not by a traceback."""

from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

MIGRATE = "Run `python manage.py migrate` (`make run` does so by itself)."


def expect_tables() -> None:
    """Raise `CommandError` for a database in which there is nothing of ours. Two
    queries. One that cannot be asked is not the question here."""
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except DatabaseError:
        return
    finally:
        connection.close()
    if not any(app == "controller" for app, _ in applied):
        raise CommandError(f"The database has no tables yet. {MIGRATE}")


def missing_migrations() -> str:
    """Return what is to be said of migrations that are missing; empty if none is."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return ""
    if not missing:
        return ""
    return f"The database lacks {len(missing)} migration(s) of this version. {MIGRATE}"
