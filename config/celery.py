"""The Celery application: `celery -A config.celery worker`, `... beat`."""

import os
from pathlib import Path

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("switchyard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def make_folders() -> None:
    """The file-system broker and beat expect their folders to be there."""
    for name in ("queue", "control"):
        Path(settings.CELERY_FOLDER / name).mkdir(
            mode=0o700, parents=True, exist_ok=True
        )


make_folders()
