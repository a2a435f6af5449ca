import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from controller.models import Revision, Worker
from tests.factories import make_worker

pytestmark = pytest.mark.django_db


def output(*arguments):
    out = StringIO()
    call_command("workers", *arguments, stdout=out)
    return out.getvalue()


def test_the_table_shows_what_an_operator_decides_by():
    worker = make_worker("llama", "qwen", address="http://gpu-1:21002", running=3)
    make_worker("phi", address="http://gpu-2:21002", left_at=now())

    header, line = output("list").splitlines()

    assert header.split()[:4] == ["ID", "ADDRESS", "MODELS", "STATE"]
    assert line.startswith(str(worker.pk)[:8])
    for shown in ("http://gpu-1:21002", "llama, qwen", "live", "mock 1.0"):
        assert shown in line
    assert header.index("RUN") == line.index("3  ", header.index("RUN"))


def test_a_silent_worker_and_a_base_path_are_seen():
    make_worker(
        base_path="/api/v1",
        address="https://host:443",
        last_heartbeat_at=now() - timedelta(minutes=5),
    )

    table = output("list")

    assert "https://host:443/api/v1" in table
    assert "expired" in table
    assert "5 min ago" in table


def test_an_empty_fleet_says_how_to_begin():
    assert "manage.py join_token" in output("list")


def test_programs_get_json():
    worker = make_worker("llama")

    [shown] = json.loads(output("list", "--json"))

    assert (shown["id"], shown["models"]) == (str(worker.pk), ["llama"])


def test_drain_and_resume_are_wishes_that_web_processes_hear():
    worker = make_worker(address="http://gpu-1:21002")
    before = Revision.current().fleet

    assert f"Drained {str(worker.pk)[:8]}" in output("drain", "http://gpu-1")
    worker.refresh_from_db()
    assert worker.drain_wished

    output("resume", str(worker.pk))
    worker.refresh_from_db()
    assert not worker.drain_wished
    assert Revision.current().fleet == before + 2


def test_a_removed_worker_is_out_of_the_fleet():
    kept, gone = make_worker(), make_worker()

    output("remove", gone.pk.hex[:12])

    assert list(Worker.objects.registered()) == [kept]


def test_an_address_is_found_without_its_scheme():
    make_worker(address="https://gpu-1:21002")

    assert "https://gpu-1:21002" in output("drain", "GPU-1:")


@pytest.mark.parametrize(
    ("beginning", "complaint"),
    [("http://gpu-9", "No registered worker"), ("http://gpu", "gpu-1.*gpu-2")],
)
def test_what_names_none_or_several_changes_nothing(beginning, complaint):
    make_worker(address="http://gpu-1:21002")
    make_worker(address="http://gpu-2:21002")

    with pytest.raises(CommandError, match=complaint):
        output("drain", "http://gpu-1", beginning)

    assert not Worker.objects.filter(drain_wished=True).exists()
