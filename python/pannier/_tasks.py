"""Calls of an Executor, and what was sent to a worker at once."""

from __future__ import annotations

import time
from concurrent.futures._base import PENDING, RUNNING
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from . import _core
from ._futures import ReceivedFuture, receiving
from ._packets import is_large, pack, unpack
from ._worker import RUN
from .errors import ConnectionLost, RemoteError, from_failure

if TYPE_CHECKING:
    from ._workers import Worker, Workers
    from .client import Client

__all__ = ["Packet", "Sent", "SentCall", "Task", "WorkerDied"]

# A thread that waits for a future receives by itself for so long; then it leaves that to the
# receiver's, as the call may be taken back and given to another worker.
_RECEIVE_SECONDS = 0.05
# More answers than a packet has calls.
_CREDIT = 1 << 30


class WorkerDied(ConnectionLost, BrokenProcessPool):
    """A worker process ended while a call was with it, or before its turn came."""


class Task(ReceivedFuture):
    """A call of an executor. As a Future it runs from when it was sent to a worker."""

    def __init__(self, workers: Workers, method: str, stream: bytes, buffers: Any, keywords: bool) -> None:
        super().__init__()
        self.workers = workers
        self.method = method
        self.stream = stream
        self.buffers = buffers
        self.keywords = keywords
        self.large = is_large(stream, buffers)
        self.tries = 0  # how often it may have been begun
        self.sent: Sent | None = None  # the last; constant while it is with a worker

    def runs(self) -> bool:
        """To be sent now? False once it was cancelled."""
        return self._state == RUNNING or self.set_running_or_notify_cancel()

    def finish(self, client: Client, answer: Any) -> None:
        """Any thread, without locks: callbacks are called."""
        if isinstance(answer, BaseException):
            self.fail(answer)
            return
        self.stream, self.buffers = b"", ()
        failed, stream, buffers = answer
        del answer
        try:
            value = client._loads(stream, buffers)
            if failed:
                value = _raised_there(client, *value)
        except BaseException as error:
            self._fail(error)
            return
        finally:
            del stream, buffers  # an exception's traceback keeps this frame
        if failed:
            self._fail(value)
        else:
            self._succeed(value)

    def fail(self, error: BaseException) -> None:
        self.stream, self.buffers = b"", ()
        self._fail(error)

    def _receive(self, timeout: float | None) -> float | None:
        sent = self.sent
        if sent is None or self._state == PENDING:
            return timeout
        start = time.monotonic()
        end = start + (_RECEIVE_SECONDS if timeout is None else min(timeout, _RECEIVE_SECONDS))
        while not self.done() and not sent.over:
            left = end - time.monotonic()
            if left <= 0:
                receiving().kick(True)
                break
            if sent.wait(left):
                self.workers.receive(sent)
        return None if timeout is None else max(timeout - (time.monotonic() - start), 0.0)


def _raised_there(
    client: Client, module: str, qualname: str, message: str, traceback: str, pickled: bytes
) -> BaseException:
    text = f"{module}.{qualname}: {message}"
    error = from_failure(RemoteError, text, module, qualname, message, traceback, pickled)
    assert isinstance(error, RemoteError)
    raised = client._raised_there(error)
    raised.__cause__ = error.__cause__
    return raised


# A task, and an exception or (it raised, stream, buffers).
Answer = tuple[Task, Any]


class Sent:
    """What was sent to a worker in one message. Guarded by the lock of Workers, but for ``wait``
    and what is constant once it was sent."""

    _pending: _core.PendingCall | _core.PendingStream  # once it was sent

    def __init__(self, worker: Worker, tasks: list[Task]) -> None:
        self.worker = worker
        self.tasks: list[Task | None] = [*tasks]  # None: answered, or taken back
        self.over = False
        self.lost: BaseException | None = None  # ended by this, and not by answers
        self.seconds: float | None = None  # that one of its calls took, on average

    def start(self) -> bool:
        """Sends it. False if there is no room. Without the lock."""
        raise NotImplementedError

    def watch(self) -> None:
        """Has Workers.receive called when there is something to collect. Without the lock."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Waits, by receiving, until there is something to collect. False if time ran out."""
        return self._pending.wait(timeout)

    def collect(self) -> list[Answer]:
        """The answers that have come since the last time."""
        raise NotImplementedError

    def take_back(self, begun: int) -> list[Task]:
        """The calls behind `begun`, the number of the last that has begun."""
        return []


class SentCall(Sent):
    """One call of a method of a program that is not Python."""

    _pending: _core.PendingCall

    def start(self) -> bool:
        (task,) = self.tasks
        assert task is not None
        self._began = time.perf_counter()
        pending = self.worker.core.start(
            task.method, task.stream, task.buffers, task.keywords, None, False
        )
        if pending is not None:
            self._pending = pending
        return pending is not None

    def watch(self) -> None:
        workers = self.worker.workers
        self._pending.on_done(lambda: workers.receive(self))

    def collect(self) -> list[Answer]:
        (task,) = self.tasks
        if task is None or not self._pending.done:
            return []
        self.over = True
        try:
            answer: Any = (False, *self._pending.take())
            self.seconds = time.perf_counter() - self._began
        except RemoteError as error:
            answer = self.worker.client._raised_there(error)
            answer.__cause__ = error.__cause__
        except BaseException as error:
            self.lost = error
            return []
        self.tasks[0] = None
        return [(task, answer)]


class Packet(Sent):
    """Calls for a worker in Python, numbered for its claims. Its answers are items of a stream,
    each a packet whose head says which call the first answer is of."""

    _pending: _core.PendingStream

    def start(self) -> bool:
        worker = self.worker
        self._first = worker.number
        stream, buffers = pack(
            self._first, [(False, task.stream, task.buffers) for task in self.tasks if task]
        )
        pending = worker.core.start_stream(RUN, stream, buffers, False, None, _CREDIT, False)
        if pending is None:
            return False
        self._pending = pending
        worker.number = (self._first + len(self.tasks)) & 0xFFFFFFFF
        return True

    def watch(self) -> None:
        workers = self.worker.workers
        self._pending.on_change(lambda: workers.receive(self))

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
                (first, self.seconds), entries = unpack(*part)
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

    def take_back(self, begun: int) -> list[Task]:
        taken: list[Task] = []
        for index, task in enumerate(self.tasks):
            behind = (self._first + index - begun) & 0xFFFFFFFF
            if task is not None and 0 < behind < 1 << 31:
                self.tasks[index] = None
                taken.append(task)
        return taken
