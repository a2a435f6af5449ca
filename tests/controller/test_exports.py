"""The ledger as a file: every row once, whatever the clients wrote into it."""

import csv
import io
import json
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.db.models import Q
from django.utils.timezone import now

from controller.ledger import exports
from controller.ledger.exports import export_response
from controller.models import LedgerEntry
from tests.factories import make_key, make_ledger_entry, make_team, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@database_sync_to_async
def make_entries(*entries):
    return [make_ledger_entry(**fields) for fields in entries]


async def exported(kind, only=None):
    entries = LedgerEntry.objects.filter(only or Q())
    response = export_response(entries, kind)
    text = b"".join([block async for block in response.streaming_content]).decode()
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("number", [0, 1, 3, 4, 5])
async def test_every_row_is_in_the_file_once_and_in_order(monkeypatch, kind, number):
    monkeypatch.setattr(exports, "BATCH_SIZE", 2)
    same = now()  # a batch may end between rows of one moment
    made = await make_entries(*({"created_at": same} for _ in range(number)))
    [older] = await make_entries({"created_at": same - timedelta(days=1)})

    rows = await exported(kind)

    expected = [older.request_id, *(entry.request_id for entry in made)]
    assert [row["request_id"] for row in rows] == expected


async def test_a_row_says_who_what_and_for_how_much():
    @database_sync_to_async
    def make():
        user = make_user(username="ann")
        team = make_team(user, name="blue")
        key, _secret = make_key(user, name="laptop")
        make_ledger_entry(user=user, key=key, team=team, cost_nanos=1_500_000)
        make_ledger_entry(user_id=12345)  # deleted since

    await make()
    row, orphan = await exported("jsonl")

    expected = {"user": "ann", "key": "laptop", "team": "blue", "cost": 0.0015}
    assert expected.items() <= row.items()
    assert (row["prompt_tokens"], row["completion_tokens"], row["status"]) == (
        10,
        5,
        200,
    )
    assert orphan["user"] is None


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1"])
async def test_what_a_spreadsheet_would_run_is_text_in_the_csv_file(text):
    await make_entries({"client_request_id": text})

    [in_csv] = await exported("csv")
    [in_json] = await exported("jsonl")

    assert in_csv["client_request_id"] == f"'{text}"
    assert in_json["client_request_id"] == text
