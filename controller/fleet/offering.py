"""Who is offered: the pools of all models and tasks, and who is in which."""

from collections.abc import Iterable, Iterator

from django.conf import settings

from controller.fleet.dispatcher import Dispatcher
from controller.fleet.loads import WorkerLoad
from controller.fleet.policies import Pool
from controller.fleet.snapshot import Canary, ModelView, WorkerView
from controller.fleet.wishes import Wish
from workers.protocol import Task

Dispatchers = dict[tuple[str, Task], Dispatcher]


class Offering:
    """A dispatcher for each model and task, and one more for a canary's workers.
    Whether anything speaks against a worker is for others to know."""

    def __init__(self) -> None:
        self.dispatchers: Dispatchers = {}
        self._canary_dispatchers: Dispatchers = {}
        self._canaries: dict[str, Canary] = {}

    def renew(self, models: Iterable[ModelView]) -> None:
        """Begin with empty pools for these models; what a policy remembers is kept."""
        usual, canary = self.dispatchers, self._canary_dispatchers
        self.dispatchers, self._canary_dispatchers = {}, {}
        self._canaries = {}
        for model in models:
            if model.canary is not None:
                self._canaries[model.name] = model.canary
            for task in map(Task, model.tasks):
                key, policy_name = (model.name, task), policy_name_of(model)
                self.dispatchers[key] = _renewed(usual.get(key), policy_name, task)
                if model.canary is not None:
                    self._canary_dispatchers[key] = _renewed(
                        canary.get(key), policy_name, task
                    )

    def dispatchers_for(self, model: ModelView, wish: Wish) -> list[Dispatcher]:
        """Who chooses, and after it who does if that has no worker at all; none for a
        task that the model does not do."""
        key = model.name, wish.task
        usual, canary = self.dispatchers.get(key), self._canary_dispatchers.get(key)
        if usual is None:
            return []
        if canary is None:
            return [usual]
        is_canary = wish.draw < self._canaries[model.name].share
        return [canary, usual] if is_canary else [usual, canary]

    def offer(self, load: WorkerLoad) -> None:
        """Put it into the pools of what it serves."""
        load.is_offered, load.is_full = True, not load.has_room
        for dispatcher in self._of(load.worker):
            dispatcher.offer(load, is_full=load.is_full)

    def note_room(self, load: WorkerLoad) -> None:
        """Move it out of the pools if it has become full, back if it has room."""
        is_full = not load.has_room
        if load.is_offered and is_full != load.is_full:
            load.is_full = is_full
            for dispatcher in self._of(load.worker):
                dispatcher.offer(load, is_full=is_full)

    def withdraw(self, worker: WorkerView) -> None:
        """Take it out of the pools that it is in."""
        for dispatcher in self._of(worker):
            dispatcher.withdraw(worker.id)

    def _of(self, worker: WorkerView) -> Iterator[Dispatcher]:
        for name, placement in worker.placements.items():
            canary = self._canaries.get(name)
            is_canary = canary is not None and canary.has(worker)
            of_kind = self._canary_dispatchers if is_canary else self.dispatchers
            for task in placement.tasks:
                dispatcher = of_kind.get((name, Task(task)))
                if dispatcher is not None:  # the model may be disabled
                    yield dispatcher


def _renewed(known: Dispatcher | None, policy_name: str, task: Task) -> Dispatcher:
    if known is None or known.policy_name != policy_name:
        return Dispatcher(policy_name, task)
    known.pool, known.full = Pool(), set()
    return known


def policy_name_of(model: ModelView) -> str:
    return model.policy or settings.DISPATCH_POLICY
