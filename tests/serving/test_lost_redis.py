"""What goes on without Redis, and what waits for it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import servers
from tests.mock_engine import running_mock_engine
from tests.product import joined, quick_product, wait_until

pytestmark = pytest.mark.redis


def test_v1_is_served_while_redis_is_gone(
    new_var_dir: Callable[[], Path], tmp_path: Path
):
    with ExitStack() as stack:
        redis = stack.enter_context(ExitStack())
        url = redis.enter_context(servers.running_redis(tmp_path))
        product = stack.enter_context(quick_product(new_var_dir(), REDIS_URL=url))
        engine = stack.enter_context(running_mock_engine())
        stack.enter_context(joined(product, engine))
        before = product.chat()

        redis.close()

        assert (before.status, product.chat().status) == (200, 200)
        assert product.call("GET", "/readyz").json["models"] == ["mock-1"]
        assert product.call("GET", "/accounts/login/").status == 200
        wait_until(lambda: len(product.ledger()) == 2, "both requests in the ledger")
        created = product.manage(*["create_key", "--user", "admin", "--name", "lost"])
        key = created.stdout.split()[-1]
        with product.chat_stream("[[tokens=100000 interval_ms=20]]", key=key) as stream:
            assert stream.readline()
            product.manage("revoke_key", key)
            begun = time.monotonic()
            assert b"was revoked" in stream.read()
        assert time.monotonic() - begun < 1
        assert product.call("GET", "/v1/models", key).status == 401
