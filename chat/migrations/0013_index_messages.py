"""Have search find what was said before there was one."""

from typing import Any

from django.db import migrations
from django.db.models import Q

from chat.search_terms import terms_of

BATCH = 200
OWNER = "\ue000"  # as in chat.search


def index_messages(apps: Any, schema_editor: Any) -> None:
    message_model = apps.get_model("chat", "Message")
    entry_model = apps.get_model("chat", "SearchEntry")
    messages = (
        message_model.objects.filter(~Q(content=""), search_entry=None)
        .exclude(state="streaming")
        .order_by("created_at")
        .values_list("id", "content", "conversation__user_id")
    )
    while batch := list(messages[:BATCH]):
        entry_model.objects.bulk_create(
            entry_model(
                message_id=message_id,
                terms=" ".join([f"{OWNER}{user_id}", *terms_of(content)]),
            )
            for message_id, content, user_id in batch
        )


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0012_search"),
    ]

    operations = [
        migrations.RunPython(index_messages, migrations.RunPython.noop, elidable=True),
    ]
