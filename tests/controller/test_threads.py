"""Database threads: in order, apart from the loop, and gone when closed."""

import asyncio
import threading
from contextvars import ContextVar

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper

from config import env
from controller.models import Team
from controller.threads import DatabaseThread
from tests.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def thread(transactional_db):
    thread = DatabaseThread("test-thread")
    yield thread
    await thread.close()


async def test_jobs_run_in_the_order_in_which_they_were_given(thread):
    done: list[int] = []

    await asyncio.gather(*(thread.run(done.append, number) for number in range(50)))

    assert done == list(range(50))


async def test_the_loop_goes_on_while_a_job_waits(thread):
    may_end = threading.Event()
    waiting = asyncio.create_task(thread.run(may_end.wait, 5))
    await asyncio.sleep(0)

    may_end.set()  # from the loop, which a job on it could never reach

    assert await waiting


async def test_a_job_that_fails_leaves_the_thread_usable(thread):
    with pytest.raises(Team.DoesNotExist):
        await thread.run(Team.objects.get, name="nobody")

    assert (await thread.run(Team.objects.create, name="somebody")).pk


async def test_a_caller_who_leaves_does_not_stop_the_job(thread):
    may_end = threading.Event()

    def job() -> None:
        may_end.wait(5)
        Team.objects.create(name="written all the same")

    leaving = asyncio.create_task(thread.run(job))
    await asyncio.sleep(0)
    leaving.cancel()
    may_end.set()
    await asyncio.gather(leaving, return_exceptions=True)

    assert await thread.run(Team.objects.count) == 1


async def test_the_connection_is_kept_from_job_to_job(thread):
    await thread.run(Team.objects.count)
    first = await thread.run(lambda: connection.connection)
    await thread.run(Team.objects.count)

    assert await thread.run(lambda: connection.connection) is first is not None


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
async def test_a_connection_that_failed_is_not_used_again(thread, error):
    def fail() -> None:
        connection.ensure_connection()
        raise error("server closed the connection")

    with pytest.raises(error):
        await thread.run(fail)

    assert await thread.run(lambda: connection.connection) is None
    assert await thread.run(Team.objects.count) == 0


@pytest.mark.postgres
async def test_a_connection_that_died_between_two_jobs_fails_none(
    thread: DatabaseThread, postgres_server: PostgresServer
):
    url = postgres_server.new_database()

    def use_postgres() -> None:
        settings = connections["default"].settings_dict | env.located(url)
        connections["default"] = DatabaseWrapper(settings)  # on this thread

    def backend() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return cursor.fetchone()[0]

    await thread.run(use_postgres)
    first = await thread.run(backend)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [first])

    assert await thread.run(backend) != first


async def test_a_job_sees_the_context_of_who_asked(thread):
    asked_in: ContextVar[str] = ContextVar("asked_in")
    asked_in.set("here")

    assert await thread.run(asked_in.get) == "here"


async def test_the_thread_and_its_connection_end_with_it(transactional_db):
    thread = DatabaseThread("test-ending")
    await thread.run(Team.objects.count)

    await thread.close()

    async with asyncio.timeout(2):
        while any(t.name.startswith("test-ending") for t in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
