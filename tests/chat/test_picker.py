"""What the page's picker is told of each model."""

import pytest
from channels.db import database_sync_to_async

from chat.protocol import rounded_wait
from controller.gateway import gateway, running_gateway
from tests.chat.conftest import KEY
from tests.chat.pages import Page
from tests.factories import make_placement, make_served_model, make_user, make_worker

pytestmark = pytest.mark.django_db(transaction=True)

make = {
    each: database_sync_to_async(each)
    for each in (make_placement, make_served_model, make_user, make_worker)
}


async def models_of(page):
    return {each["name"]: each for each in (await page.hear("models"))["models"]}


async def test_a_model_in_whose_line_somebody_waits_is_told_as_busy(engine):
    worker = {"address": engine.url, "engine_key": KEY, "max_concurrency": 1}
    await make[make_worker]("mock-1", **worker)
    user = await make[make_user]()
    async with running_gateway(), Page(user) as page:
        idle = await models_of(page)
        first = await page.ask("hello [[hang_after=0]]")
        second = await page.ask("hello")
        await page.hear("waiting")
        busy = await models_of(page)
        for shown in (second, first):
            await page.say(type="attach", conversation=shown["conversation"]["id"])
            await page.say(type="stop", message=shown["messages"][-1]["id"])
            await page.hear("settled")

    assert not idle["mock-1"]["is_busy"]
    assert busy["mock-1"]["is_busy"]
    assert busy["mock-1"]["wait_seconds"] is None  # nobody had a turn yet


async def test_a_model_sees_only_if_all_of_its_workers_do(transactional_db):
    both, one = [await make[make_served_model](name) for name in ("both", "one")]
    first, second = [await make[make_worker]() for _ in range(2)]
    seeing = {"modalities": ["text", "image"]}
    for worker, served, fields in (
        (first, both, seeing),
        (second, both, seeing),
        (first, one, seeing),
        (second, one, {"modalities": ["text"]}),
    ):
        await make[make_placement](worker, served, **fields)
    user = await make[make_user]()

    async with running_gateway(), Page(user) as page:
        models = await models_of(page)

    assert models["both"]["sees"]
    assert not models["one"]["sees"]


async def test_nobody_waits_for_a_model_that_nobody_asked(site):
    [model] = gateway().fleet.models()

    assert gateway().outlook(model) is None


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, 5), (11, 15), (61, 90), (1e9, 3600)]
)
def test_waits_are_told_in_steps(seconds, shown):
    assert rounded_wait(seconds) == shown
