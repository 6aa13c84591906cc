"""What was sent to a worker of an Executor in one message, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from ._packets import LARGE, NUMBER, Entry, pack, unpack
from ._tasks import Task
from ._worker_main import RUN, RUN_PACKET
from .errors import RemoteError

if TYPE_CHECKING:
    from ._workers import Worker

__all__ = ["Answer", "LoneCall", "NamedCall", "Packet", "Sent", "sent_of"]

# More answers than a packet has calls.
_CREDIT = 1 << 30

# A task, and how it ended: an exception, or a stream and buffers.
Answer = tuple[Task, "BaseException | Entry"]


class Sent:
    """Guarded by the lock of Workers, but for ``wait`` and what is constant once it was sent.

    `_pending` ends with an answer or with an error; what of it may come in several parts, ends with
    the last of them.
    """

    _pending: Any  # once it was sent
    first: int  # once it was sent: the number of the first call, where the worker has claims

    def __init__(self, worker: Worker, tasks: list[Task]) -> None:
        self.worker = worker
        self.tasks: list[Task | None] = [*tasks]  # None: answered, or taken back
        self.over = False
        self.lost: BaseException | None = None  # ended by this, and not by answers

    def start(self) -> bool:
        """Sends it. False if there is no room. With worker.sending."""
        raise NotImplementedError

    def watch(self) -> None:
        """Has Dispatch.take_in called, undisturbed, when there is something to collect. Without the
        lock."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Waits, by receiving, until there is something to collect. False if time ran out."""
        waited: bool = self._pending.wait(timeout)
        return waited

    def collect(self) -> list[Answer]:
        """The answers that have come since the last time."""
        raise NotImplementedError

    def take_back(self, begun: int) -> list[Task]:
        """The calls behind `begun`, the number of the last that has begun. Of numbered calls."""
        taken: list[Task] = []
        for index, task in enumerate(self.tasks):
            behind = (self.first + index - begun) & 0xFFFFFFFF
            if task is not None and 0 < behind < 1 << 31:
                self.tasks[index] = None
                taken.append(task)
        return taken


class _OneCall(Sent):
    _pending: _core.PendingCall

    def watch(self) -> None:
        self._pending.on_done(lambda: self.worker.dispatch.take_in(self))

    def collect(self) -> list[Answer]:
        if self.over:
            return []
        self.over = True
        (task,) = self.tasks
        answer: Any
        try:
            answer = self._pending.take()
        except RemoteError as error:
            answer = self.worker.client._raised_there(error)
            answer.__cause__ = error.__cause__
        except BaseException as error:
            self.lost = error
            return []
        if task is None:
            return []
        self.tasks[0] = None
        return [(task, answer)]


class NamedCall(_OneCall):
    """A call of a method of a program that is not Python."""

    def start(self) -> bool:
        (task,) = self.tasks
        assert task is not None
        pending = self.worker.core.start(
            task.method, task.stream, task.buffers, task.keywords, None, False
        )
        if pending is None:
            return False
        self._pending = pending
        return True


class LoneCall(_OneCall):
    """A call of a worker in Python."""

    def start(self) -> bool:
        worker = self.worker
        (task,) = self.tasks
        assert task is not None
        self.first = worker.number
        stream = task.stream + NUMBER.pack(worker.number)
        pending = worker.core.start(RUN, stream, task.buffers, False, None, False)
        if pending is None:
            return False
        self._pending = pending
        worker.number = (worker.number + 1) & 0xFFFFFFFF
        return True


class Packet(Sent):
    """Several calls of a worker in Python, or a long one. Its answers are items of a stream, each a
    packet whose number says of which call the first answer is."""

    _pending: _core.PendingStream

    def start(self) -> bool:
        worker = self.worker
        self.first = worker.number
        stream, buffers = pack(
            self.first, [(task.stream, task.buffers) for task in self.tasks if task]
        )
        pending = worker.core.start_stream(RUN_PACKET, stream, buffers, False, None, _CREDIT, False)
        if pending is None:
            return False
        self._pending = pending
        worker.number = (self.first + len(self.tasks)) & 0xFFFFFFFF
        return True

    def watch(self) -> None:
        self._pending.on_change(lambda: self.worker.dispatch.take_in(self))

    def collect(self) -> list[Answer]:
        answers: list[Answer] = []
        while not self.over:
            try:
                part = self._pending.try_next()
                if part is False:
                    break
                if part is None:
                    self.over = True
                    part = self._pending.result()
                first, entries = unpack(*part)
            except BaseException as error:
                self.over = True
                self.lost = error
                break
            for index, entry in enumerate(entries, first):
                task = self.tasks[index]
                assert task is not None
                self.tasks[index] = None
                answers.append((task, entry))
            del part, entries
        return answers


def sent_of(worker: Worker, tasks: list[Task]) -> Sent:
    """What carries `tasks` to `worker`, not sent yet."""
    if worker.claims is None:
        return NamedCall(worker, tasks)
    if len(tasks) == 1 and len(tasks[0].stream) <= LARGE:
        return LoneCall(worker, tasks)
    return Packet(worker, tasks)
