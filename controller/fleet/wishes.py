"""What a request wants of the fleet, in the few words that a choice depends on."""

import os
import random
import zlib
from dataclasses import dataclass

from controller.fleet.prompts import (
    BLOCK_BYTES,
    BYTES_PER_TOKEN,
    estimate_tokens,
    hash_chain,
    prompt_text,
)
from controller.identity.caller import Caller
from controller.relay.request import InferenceRequest
from workers.protocol import Task

# With it, nobody outside can tell which prompts would hash alike.
_SECRET = int.from_bytes(os.urandom(8), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Made once for each request, by `wish_for`; the same for all its tries."""

    task: Task
    prompt_tokens: int = 0
    """Estimated from the prompt's length; no tokenizer is asked."""
    chain: tuple[int, ...] = ()
    """The prompt's beginning as a hash chain over its blocks; empty where the model's
    policy does not look at it, or the prompt is shorter than a block."""
    session: str = ""
    """Requests with the same one should meet on one worker; empty: no matter where."""
    draw: float = 1.0
    """0 to 1, the same for all of a session: below a canary's share, it is for that."""

    def tokens_in_blocks(self, num_blocks: int) -> int:
        """About how many of the prompt's tokens are in its first blocks."""
        return min(num_blocks * BLOCK_BYTES // BYTES_PER_TOKEN, self.prompt_tokens)


def wish_for(caller: Caller, request: InferenceRequest, *, reads_prompt: bool) -> Wish:
    """What this request wants. The hash chain is made only if `reads_prompt`.

    It is salted by team: what one team's prompts are must not show in how quickly
    another team is answered.
    """
    text, num_media = prompt_text(request.body)
    salt = hash((_SECRET, caller.team_id))
    session = f"{caller.identity} {request.session}" if request.session else ""
    return Wish(
        task=request.task,
        prompt_tokens=estimate_tokens(text, num_media),
        chain=hash_chain(text, salt) if reads_prompt else (),
        session=session,
        draw=_draw(session),
    )


def _draw(session: str) -> float:
    """By the session, alike in every web process; without one, at random."""
    if not session:
        return random.random()  # noqa: S311  # a share, not a secret
    return zlib.crc32(session.encode()) / 2**32
