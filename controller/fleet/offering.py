"""Who is offered: the pools of all models and tasks, and who is in which."""

from collections.abc import Iterable, Iterator

from django.conf import settings

from controller.fleet.dispatcher import Dispatcher
from controller.fleet.loads import WorkerLoad
from controller.fleet.policies import Pool
from controller.fleet.snapshot import ModelView, WorkerView
from workers.protocol import Task


class Offering:
    """A dispatcher for each model and task. Whether anything speaks against a worker is
    for others to know."""

    def __init__(self) -> None:
        self.dispatchers: dict[tuple[str, Task], Dispatcher] = {}

    def renew(self, models: Iterable[ModelView]) -> None:
        """Begin with empty pools for these models; what a policy remembers is kept."""
        dispatchers = {}
        for model in models:
            for task in map(Task, model.tasks):
                policy_name = policy_name_of(model)
                dispatcher = self.dispatchers.get((model.name, task))
                if dispatcher is None or dispatcher.policy_name != policy_name:
                    dispatcher = Dispatcher(policy_name, task)
                dispatcher.pool, dispatcher.full = Pool(), set()
                dispatchers[model.name, task] = dispatcher
        self.dispatchers = dispatchers

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
            for task in placement.tasks:
                dispatcher = self.dispatchers.get((name, Task(task)))
                if dispatcher is not None:  # the model may be disabled
                    yield dispatcher


def policy_name_of(model: ModelView) -> str:
    return model.policy or settings.DISPATCH_POLICY
