"""Many joins in the same moment, each in a thread with its own connection."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from controller.fleet import registry
from controller.fleet.addresses import ResolvedAddress
from controller.fleet.errors import WorkerRefused
from controller.fleet.permits import Permit
from controller.models import JoinToken, ModelAlias, Placement, Worker
from tests.controller.fake_engine import make_join, make_offer
from tests.factories import make_join_token
from workers.protocol import JoinRequest, RefusalCode

pytestmark = pytest.mark.django_db(transaction=True)

NUM_JOINS = 6


def race(
    token: JoinToken, joins: list[JoinRequest]
) -> list[registry.Registration | str]:
    """What came of each join, a refusal by its code; the challenges are passed."""
    start = threading.Barrier(len(joins))

    def admit(join: JoinRequest) -> registry.Registration | str:
        port = int(join.address.rpartition(":")[2])
        resolved = ResolvedAddress("http", "127.0.0.1", port, "127.0.0.1")
        start.wait()
        try:
            return registry._admit(join, resolved, Permit(token))
        except WorkerRefused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(joins)) as pool:
        return list(pool.map(admit, joins))


@pytest.mark.parametrize(
    ("contested", "code"),
    [
        ("token", RefusalCode.TOKEN_USED),
        ("address", RefusalCode.ADDRESS_TAKEN),
        ("exclusive name", RefusalCode.MODEL_NAME_TAKEN),
        ("alias", RefusalCode.MODEL_NAME_TAKEN),
    ],
)
def test_what_only_one_can_have_goes_to_exactly_one(contested, code):
    token, _ = make_join_token(is_reusable=contested != "token")
    joins = []
    for number in range(NUM_JOINS):
        is_alias = contested == "alias"
        offer = make_offer(
            f"model-{number}" if is_alias else "llama",
            aliases=["gpt-4"] if is_alias else [],
        )
        port = 9000 if contested == "address" else 9000 + number
        joins.append(
            make_join(
                address=f"http://127.0.0.1:{port}",
                models=[offer],
                exclusive=contested == "exclusive name",
            )
        )

    outcomes = race(token, joins)

    assert outcomes.count(code) == NUM_JOINS - 1
    assert (Worker.objects.count(), Placement.objects.count()) == (1, 1)


def test_joins_that_do_not_contend_all_succeed():
    token, _ = make_join_token(is_reusable=True)
    offer = make_offer("llama", aliases=["gpt-4"])
    joins = [
        make_join(address=f"http://127.0.0.1:{9000 + number}", models=[offer])
        for number in range(NUM_JOINS)
    ]

    outcomes = race(token, joins)

    assert all(isinstance(each, registry.Registration) for each in outcomes)
    assert Worker.objects.count() == NUM_JOINS
    assert ModelAlias.objects.count() == 1
