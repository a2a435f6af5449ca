"""What `workers.check` is told: as a join would fail, with nothing spent or stored."""

import pytest
from asgiref.sync import sync_to_async
from django.utils.timezone import now

from controller.fleet.checking import check
from controller.fleet.errors import WorkerRefused
from controller.models import Worker
from tests.controller.fake_engine import answering, running_engine
from tests.factories import make_join_token
from workers.protocol import CheckRequest, RefusalCode

pytestmark = pytest.mark.django_db(transaction=True)

new_token = sync_to_async(make_join_token)


async def test_a_check_tells_what_a_join_would_find_and_spends_nothing():
    token, secret = await new_token()
    async with running_engine() as engine:
        request = CheckRequest(address=engine.url, engine_key=engine.key)
        answer = await check(request, secret)

    names = [step.name for step in answer.steps]
    assert names == ["join token", "address", "port", "challenge", "key"]
    assert all(step.is_well for step in answer.steps)
    await token.arefresh_from_db()
    assert token.used_at is None
    assert not await Worker.objects.aexists()


@pytest.mark.parametrize(
    ("fields", "code", "num_well"),
    [
        ({"address": "http://169.254.169.254"}, RefusalCode.ADDRESS_NOT_ALLOWED, 1),
        ({"base_path": "/../v1"}, RefusalCode.BAD_REQUEST, 1),
        ({"engine_key": "another"}, RefusalCode.ENGINE_REFUSES_KEY, 4),
    ],
)
async def test_a_check_ends_with_the_step_that_a_join_would_fail_by(
    fields, code, num_well
):
    _, secret = await new_token()
    async with running_engine() as engine:
        request = CheckRequest(**{"address": engine.url} | fields)
        answer = await check(request, secret)

    *well, failed = answer.steps
    assert [step.is_well for step in well] == [True] * num_well
    assert (failed.is_well, failed.code) == (False, code)


async def test_an_open_door_is_found_unless_the_token_is_keyless():
    _, secret = await new_token()
    _, keyless = await new_token(is_keyless=True)
    async with running_engine(answers={"/tokenize": answering(200)}) as engine:
        request = CheckRequest(address=engine.url)
        refused = await check(request, secret)
        taken = await check(request, keyless)

    assert refused.steps[-1].code == RefusalCode.ENGINE_OPEN
    assert [step.name for step in taken.steps] == ["join token", "address", "port"]


async def test_a_spent_token_is_refused_before_anything_is_called():
    _, used = await new_token(used_at=now())
    async with running_engine() as engine:
        with pytest.raises(WorkerRefused, match="used already"):
            await check(CheckRequest(address=engine.url), used)

    assert engine.asked == []
