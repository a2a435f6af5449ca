from typing import Any

from django.db import migrations, models

# Terms are cut by `chat.search_terms`, so that the tokenizer only has to split at
# spaces; "ascii" leaves all other characters alone. No query asks for phrases or
# columns: without positions the index is a third of the size.
SQLITE = [
    "CREATE VIRTUAL TABLE chat_search USING fts5(terms, content='chat_searchentry',"
    " content_rowid='id', tokenize='ascii', detail='none', columnsize=0)",
    "CREATE TRIGGER chat_search_insert AFTER INSERT ON chat_searchentry BEGIN"
    " INSERT INTO chat_search(rowid, terms) VALUES (new.id, new.terms); END",
    "CREATE TRIGGER chat_search_delete AFTER DELETE ON chat_searchentry BEGIN"
    " INSERT INTO chat_search(chat_search, rowid, terms)"
    " VALUES ('delete', old.id, old.terms); END",
    "CREATE TRIGGER chat_search_update AFTER UPDATE ON chat_searchentry BEGIN"
    " INSERT INTO chat_search(chat_search, rowid, terms)"
    " VALUES ('delete', old.id, old.terms);"
    " INSERT INTO chat_search(rowid, terms) VALUES (new.id, new.terms); END",
]
# Built in: neither extension nor dictionary is asked to cut the terms again.
POSTGRESQL = [
    "CREATE INDEX chat_search ON chat_searchentry USING gin"
    " (array_to_tsvector(string_to_array(terms, ' ')))"
]


def make_index(apps: Any, schema_editor: Any) -> None:
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[
        schema_editor.connection.vendor
    ]:
        schema_editor.execute(statement, params=None)


def drop_index(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for name in ("insert", "delete", "update"):
            schema_editor.execute(f"DROP TRIGGER chat_search_{name}", params=None)
        schema_editor.execute("DROP TABLE chat_search", params=None)
    else:
        schema_editor.execute("DROP INDEX chat_search", params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0011_library"),
    ]

    operations = [
        migrations.CreateModel(
            name="SearchEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("terms", models.TextField()),
                (
                    "message",
                    models.OneToOneField(
                        on_delete=models.deletion.CASCADE,
                        related_name="search_entry",
                        to="chat.message",
                    ),
                ),
            ],
        ),
        migrations.RunPython(make_index, drop_index),
    ]
