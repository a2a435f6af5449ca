"""A web process that has started does not stand still to collect what never dies."""

import gc
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest

from controller.serving.lifespan import Lifespan


@pytest.fixture
def _collector() -> Iterator[None]:
    """Leaves the garbage collector of the tests as it was."""
    before = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@asynccontextmanager
async def phase():
    yield


@pytest.mark.usefixtures("_collector")
async def test_a_full_collection_passes_over_what_was_loaded_by_the_start():
    walked_before = len(gc.get_objects())
    lifespan = Lifespan(phase)
    await lifespan.start()

    assert gc.get_freeze_count() > walked_before / 2
    assert len(gc.get_objects()) < walked_before / 10
    await lifespan.stop()
