"""The worker processes of an Executor: when they are started and told to end, and what follows when
one dies."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._cloudpickling import dumps_anything
from ._dispatch import Dispatch
from ._futures import receiving
from ._packets import Raised
from ._processes import START_SECONDS, Process
from ._tasks import WorkerDied
from ._worker_main import STOP
from .client import Client
from .errors import DeadlineExceeded, Error, Forked

if TYPE_CHECKING:
    from ._pool import Pool
    from ._sent import Sent

__all__ = ["Worker", "Workers"]

# How long workers have to end by themselves.
_END_SECONDS = 30.0

_NO_ARGUMENTS = dumps_anything(())[0]


class Worker:
    """One process. Guarded by the lock of Workers, but for what is constant once it is ready, and
    `number`, which `sending` guards. `sending` is taken before the lock of Workers."""

    def __init__(self, dispatch: Dispatch, name: int) -> None:
        self.dispatch = dispatch
        self.name = name
        self.process: Process | None = None
        self.failure: Exception = RuntimeError()  # why there is no process
        self.claims: _core.Claims | None = None  # None: of a program that is not Python
        self.client: Client = None  # type: ignore[assignment]
        self.core: _core.Client = None  # type: ignore[assignment]  # the client's
        self.started = False  # it was ready once
        self.ready = False  # it answers calls
        self.retires = False  # it gets no more of them
        self.sending = threading.Lock()
        self.number = 1  # of the next call, for its claims
        self.sent: list[Sent] = []  # and not over
        self.load = 0  # calls in these
        self.given = 0  # calls, ever


class Workers:
    """What an Executor stands on; lives until its processes have ended."""

    def __init__(
        self,
        start: Callable[[], Process],
        most: int,
        *,
        most_tasks: int | None,
        replace: bool,
        retries: int,
        pool: Pool | None,
        forks: bool,
    ) -> None:
        self._start = start
        self._most = most
        self._replace = replace
        self._pool = pool
        # Forking later, when there are threads, is asking for trouble.
        self._at_once = forks and not replace
        self._pid = os.getpid()
        # Reentrant: a collection may drop an executor anywhere.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)  # notified when calls or workers run out
        self.calls = Dispatch(self, most_tasks=most_tasks, replace=replace, retries=retries)
        # Guarded by `lock`.
        self.all: list[Worker] = []
        self._names = itertools.count(1)
        self.broken: str | None = None
        self._shut = False
        self._waiting = 0  # threads in shutdown, which end the workers themselves
        self._ended = False  # the workers were told to end

    def check(self) -> None:
        """Raises WorkerDied or RuntimeError if no calls are taken any more."""
        if self._pid != os.getpid():
            raise Forked("this executor belongs to the parent process; a forked child has to make its own")
        if self.broken is not None:
            raise WorkerDied(self.broken)
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    # ---- Which there are. With the lock.

    def least_loaded(self) -> Worker | None:
        """Of those that may be given calls."""
        least: Worker | None = None
        for worker in self.all:
            if worker.ready and not worker.retires and (least is None or worker.load < least.load):
                least = worker
        return least

    def most_loaded(self) -> Worker | None:
        """Likewise."""
        ready = [worker for worker in self.all if worker.ready and not worker.retires]
        return max(ready, key=lambda each: each.load, default=None)

    def count_ready(self) -> int:
        return sum(1 for worker in self.all if worker.ready and not worker.retires)

    # ---- Processes begin

    def start_for_calls(self) -> None:
        """As many as there are calls for. With the lock."""
        if self._ended or len(self.all) >= self._most:
            return
        alive = [worker for worker in self.all if not worker.retires]
        idle = sum(1 for worker in alive if worker.load == 0)
        wanted = self._most if self._at_once else len(alive) + len(self.calls.queue) - idle
        count = min(wanted, self._most) - len(alive)
        new = [Worker(self.calls, next(self._names)) for _ in range(count)]
        self.all += new
        receiving()  # whose thread could not be started at the end of the program
        # All processes before the first thread of a worker, and here: at that end a new process
        # would not find its main module any more.
        for worker in new:
            try:
                worker.process = self._start()
                worker.claims = worker.process.claims
            except Exception as error:
                worker.failure = error
        for worker in new:
            threading.Thread(
                target=self._attend, args=(worker,), name=f"pannier-worker-{worker.name}", daemon=True
            ).start()

    def _attend(self, worker: Worker) -> None:
        """The life of a worker, on a thread of its own."""
        why = "a worker process ended unexpectedly"
        try:
            if worker.process is None:
                raise worker.failure
            if self._ended:
                worker.process.terminate()
            worker.client = self._connect(worker.process)
            worker.core = worker.client._core
            receiving().add(worker.core)
            with self.lock:
                worker.started = True
                worker.ready = not self._ended
                if self._ended:
                    self.retire(worker)
            self.calls.feed()
        except BaseException as error:
            why = f"a worker process could not be started: {error}"
            if worker.process is not None:
                worker.process.kill()
        if worker.process is not None:
            worker.process.wait_end()
        if worker.client is not None:
            worker.core.dispatch()  # it may have answered
            worker.client.close()  # what is with it fails now
        self._gone(worker, why)

    def _connect(self, process: Process) -> Client:
        address = process.wait_ready()
        timeout = 1.0
        while True:
            try:
                return Client(address, pool=self._pool, connect_timeout=timeout, allow=[Raised])
            except DeadlineExceeded:
                # It listens: what takes long now is the machine, or the process was ended.
                if not process.alive or timeout > START_SECONDS:
                    raise
            timeout *= 2

    # ---- Processes end

    def _gone(self, worker: Worker, why: str) -> None:
        with self.lock:
            worker.ready = False
            expected = worker.retires or self._ended
            broken = not expected and not (self._replace and worker.started)
        if broken:
            self._break(why)
        with self.lock:
            self.all.remove(worker)
            if self.calls.queue:
                self.start_for_calls()
            self._changed.notify_all()
        self.calls.feed()

    def _break(self, why: str) -> None:
        """Fails all that is pending, and ends what is left."""
        with self.lock:
            if self.broken is None:
                self.broken = why
            self._ended = True
            tasks = self.calls.take_waiting()
            for worker in self.all:
                if worker.process is not None:
                    worker.process.terminate()
            self.calls.ending.append(threading.get_ident())
        self.calls.fail_all([(task, WorkerDied(why)) for task in tasks])

    def retire(self, worker: Worker) -> None:
        """Tells a worker to end when it has answered. With the lock."""
        worker.ready = False
        worker.retires = True
        assert worker.process is not None
        if worker.claims is None:
            worker.process.terminate()  # WorkerMain ends in good order
            return
        try:
            worker.core.notify(STOP, _NO_ARGUMENTS, (), False, 1.0)
        except (Error, OSError):
            worker.process.terminate()

    # ---- The end

    def shutdown(self, wait: bool = True, cancel: bool = False) -> None:
        """Takes no more calls, and ends the workers after those there are. In a callback of one of
        the futures it does not wait."""
        if self._pid != os.getpid():
            return  # the parent's; and its threads, which might hold the lock, are not here
        with self.lock:
            self._shut = True
        if cancel:
            self.calls.cancel()
        # In a callback of a future it may be this thread that is to receive what it would wait for.
        if not wait or threading.get_ident() in self.calls.ending:
            self.rest()
            return
        with self.lock:
            self._waiting += 1
            try:
                self._changed.wait_for(self._all_over)
                self._ended = True
            finally:
                self._waiting -= 1
                self.rest()  # in case that this was cut short
        self._end()

    def _all_over(self) -> bool:
        return not (self.calls.in_flight or self.calls.queue or self.calls.ending)

    def rest(self) -> None:
        """Once the last call has ended: tells who waits for that, or ends the workers if nobody
        does."""
        if not self._shut:  # whoever sets it looks afterwards whether calls are left
            return
        with self.lock:
            if not self._all_over():
                return
            self._changed.notify_all()
            if not self._ended and not self._waiting:
                self._ended = True
                threading.Thread(target=self._end, name="pannier-shutdown").start()

    def _end(self) -> None:
        """Ends the processes, and waits for that. Any number of times."""
        with self.lock:
            self._ended = True
            for worker in self.all:
                if worker.ready:
                    self.retire(worker)
                elif worker.process is not None and not worker.retires:
                    worker.process.terminate()  # it has not begun
            if not self._changed.wait_for(lambda: not self.all, _END_SECONDS):
                for worker in self.all:
                    if worker.process is not None:
                        worker.process.kill()
                self._changed.wait_for(lambda: not self.all, _END_SECONDS)

    def describe(self) -> str:
        with self.lock:
            state = "broken" if self.broken else "shut down" if self._shut else "open"
            return (
                f"{state}, {len(self.all)} of {self._most} workers, {self.calls.in_flight} calls "
                f"with them, {len(self.calls.queue)} waiting"
            )
