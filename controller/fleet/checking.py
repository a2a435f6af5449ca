"""What a join would fail by, told to who holds a join token; nothing comes of it.

`python -m workers.check` asks this before a worker is started: the token is looked at
and not spent, the claimed address is called as the challenge of a join calls it.
"""

from channels.db import database_sync_to_async
from django.conf import settings

from controller.fleet import arrivals, permits
from controller.fleet.addresses import resolve
from controller.fleet.challenge import engine_at
from controller.fleet.errors import WorkerRefused
from controller.fleet.offers import check_base_path, check_protocol
from controller.fleet.permits import Permit
from workers.protocol import CheckAnswer, CheckRequest, CheckStep


async def check(request: CheckRequest, bearer: str) -> CheckAnswer:
    """The steps up to the first that fails. Raises `WorkerRefused` for the token."""
    check_protocol(request.protocol)
    permit = await database_sync_to_async(permits.find_permit)(None, bearer)
    if request.state is not None and permit.token is not None:
        await database_sync_to_async(arrivals.note_state)(permit.token, request)
    steps = [_token_step(permit)]
    if request.address:
        try:
            await _look_at_address(request, permit, steps)
        except WorkerRefused as refused:
            steps.append(
                CheckStep(
                    name="way back",
                    is_well=False,
                    message=refused.message,
                    code=refused.code or "",
                )
            )
    return CheckAnswer(steps=steps)


def _token_step(permit: Permit) -> CheckStep:
    token = permit.token
    assert token is not None, "a permit without a worker has a token"
    kind = "reusable" if token.is_reusable else "good for one worker"
    also = ", keyless" if token.is_keyless else ""
    bound = f", bound to {', '.join(token.networks)}" if token.networks else ""
    message = f"{token} is {kind}{also}{bound}; it was not spent"
    return CheckStep(name="join token", is_well=True, message=message)


async def _look_at_address(
    request: CheckRequest, permit: Permit, steps: list[CheckStep]
) -> None:
    """Look as a join does and note what is well; raises `WorkerRefused` as it would."""
    check_base_path(request.base_path)
    resolved = await resolve(request.address, settings.ALLOWED_WORKER_NETWORKS)
    permit.check_network(resolved.ip)
    allowed = f"{resolved.url} is {resolved.ip} there, which is allowed"
    steps.append(_well("address", allowed))
    timeout = settings.CHALLENGE_TIMEOUT.total_seconds()
    async with engine_at(resolved, request.base_path, timeout) as engine:
        await engine.expect_an_answer()
        steps.append(_well("port", f"the controller reaches {resolved.url}"))
        if not permit.is_keyless:
            await engine.expect_shut(lists_openly=request.shares_address)
            shut = "no inference path answers without the key"
            steps.append(_well("challenge", shut))
        if request.engine_key:
            await engine.expect_models([], request.engine_key, {})
            if request.shares_address:
                await engine.expect_key_taken(request.engine_key, {})
            steps.append(_well("key", "the key opens the list of models"))


def _well(name: str, message: str) -> CheckStep:
    return CheckStep(name=name, is_well=True, message=message)
