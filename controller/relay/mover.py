"""What an exchange needs to move its stream: a memory, and who could go on with it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from django.conf import settings

from controller.fleet.live import Fleet
from controller.fleet.snapshot import ModelView, WorkerView
from controller.relay import moving
from controller.relay.answers import AnswerReader, Usage
from controller.relay.client import UpstreamBroken
from controller.relay.moving import Continuation, Told
from controller.relay.request import InferenceRequest
from controller.relay.said import Said
from controller.relay.splicing import SplicedReader, ending_of, shows_running_usage

Fetch = Callable[[WorkerView, str, bytes], Awaitable[bytes]]
"""The whole answer of a worker to this path and body."""


class Mover:
    """One request's stream: what it said so far, and how it goes on elsewhere."""

    def __init__(
        self, request: InferenceRequest, model: ModelView, fleet: Fleet
    ) -> None:
        self.num_moves = 0
        self._request = request
        self._model = model
        self._fleet = fleet
        self.may_move = not moving.why_never(request)
        """It is one answer, of a kind that can be taken up in the middle."""
        self._said: Said | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens so far, if an engine told them."""
        return self._said.usage if self._said is not None else None

    @property
    def is_estimate(self) -> bool:
        """The tokens before a move are counted by events: no engine told them."""
        return (
            self.num_moves > 0 and self._said is not None and self._said.counts_events
        )

    # -- while the first engine speaks -------------------------------------------

    def told_by(self, worker: WorkerView) -> Told:
        """What this engine is asked to say beside its text."""
        if not self.may_move or len(self._model.workers) < 2:
            return Told.NOTHING  # there is nowhere to move to
        return moving.told_by(worker)

    def first_reader(self, worker: WorkerView) -> AnswerReader:
        """What reads and remembers the answer of the first engine."""
        told, request = self.told_by(worker), self._request
        self._said = Said(settings.MOVE_MAX_BYTES) if self.may_move else None
        shows_ids = bool(request.body.get("return_token_ids"))
        return AnswerReader(
            request.show_usage,
            hides_ids=told is Told.IDS and not shows_ids,
            hides_running=told is Told.USAGE and not shows_running_usage(request),
            memory=self._said,
        )

    # -- when it has broken off --------------------------------------------------

    def look_around(self) -> ModelView:
        """Read what was said, and see the model and its workers as they are by now."""
        if self._said is not None:
            self._said.read()
        # Workers have come and gone since the request began.
        self._model = self._fleet.snapshot.models.get(self._model.name, self._model)
        return self._model

    def has_elsewhere(self, broken: WorkerView) -> bool:
        """Whether another worker could take the stream over now."""
        if self._said is None or self.num_moves >= settings.MOVES_PER_REQUEST:
            return False
        unable = self.unable(broken)
        return any(
            worker.id not in unable and not self._fleet.why_not(worker)
            for worker in self._model.workers
        )

    def unable(self, broken: WorkerView) -> set[UUID]:
        """The workers that could not go on from what was said, the broken one too."""
        said = self._said
        return {broken.id} | {
            worker.id
            for worker in self._model.workers
            if said is None
            or not moving.may_go_on(
                self._request, said, worker, worker.placements[self._model.name]
            )
        }

    def ending(self) -> tuple[list[bytes], Usage] | None:
        """The last events of an answer whose engine broke off before them, and its
        usage; None where what it said is not known well enough."""
        if self._said is None or self._said.why_not:
            return None
        return ending_of(self._said, self._request.show_usage)

    # -- with the next one -------------------------------------------------------

    async def go_on_with(
        self, worker: WorkerView, fetch: Fetch
    ) -> tuple[Continuation, SplicedReader]:
        """What to ask this worker, and what reads its answer; `fetch` asks it what has
        to be known first. Raises `UpstreamBroken`
        and `UpstreamUnreachable`."""
        said, request = self._said, self._request
        assert said is not None
        placement = worker.placements[self._model.name]
        if not moving.may_go_on(request, said, worker, placement):
            raise UpstreamBroken("it joined a moment ago, and cannot go on")
        if said.is_nothing:
            question = moving.again(request)
        elif not moving.goes_exactly(request, said, worker, placement):
            question = moving.by_the_text(request, said)
        else:
            held, num_done = "", said.num_shown
            if moving.stop_strings(request):
                held, num_done = await self._held_back(worker, said, fetch)
            room = placement.context_length
            question = moving.exactly(request, said, room, held, num_done)
        said.goes_on(question.num_done)
        return question, SplicedReader(request, said, question)

    async def _held_back(
        self, worker: WorkerView, said: Said, fetch: Fetch
    ) -> tuple[str, int]:
        """Text that the first engine held back, and the number of tokens it ends with.

        The last tokens may be half a character; they are left to the second engine.
        """
        upstream_model = worker.placements[self._model.name].upstream_model
        for num_tokens in range(len(said.ids), said.num_shown - 1, -1):
            asked = {"model": upstream_model, "tokens": list(said.ids[:num_tokens])}
            body = msgspec.json.encode(asked)
            answer = await fetch(worker, moving.DETOKENIZE_PATH, body)
            held = moving.held_back(answer, said.text)
            if held is not None:
                return held, num_tokens
        raise UpstreamBroken("its text is not that of its tokens")
