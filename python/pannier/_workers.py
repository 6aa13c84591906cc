"""The workers of an Executor: which call goes to which of them, and who takes a dead one's place."""

from __future__ import annotations

import collections
import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._futures import receiving
from ._processes import START_SECONDS, Process
from ._tasks import Packet, Sent, SentCall, Task, WorkerDied
from ._worker import STOP, dumps_anything
from .client import Client
from .errors import Closed, ConnectionLost, DeadlineExceeded, Error, Forked

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Worker", "Workers"]

# Short calls are sent to a worker ahead of their turn: as many as take so long together, at most
# so many, in two messages, so that it has the second while the answer of the first is on its way.
_AHEAD_SECONDS = 0.002
_MOST_AHEAD = 128
_MESSAGES = 2
# With every so many calls that are submitted while all workers are busy, answers are looked for:
# who submits in a loop holds the interpreter, and nobody else would.
_LOOK_EACH = 32
# How soon a call is sent again for which there was no room, and no answer will tell of any.
_ROOM_SECONDS = 0.005
# How long workers have to end by themselves.
_END_SECONDS = 30.0

_NO_ARGUMENTS = dumps_anything(())[0]


class Worker:
    """One process. Guarded by the lock of Workers, but for what is constant once it is ready, and
    `number`, which `sending` guards. `sending` is taken before the lock of Workers."""

    def __init__(self, workers: Workers, name: int) -> None:
        self.workers = workers
        self.name = name
        self.process: Process | None = None
        self.failure: Exception = RuntimeError()  # why there is no process
        self.client: Client = None  # type: ignore[assignment]
        self.core: Any = None  # the client's
        self.started = False  # it was ready once
        self.ready = False  # it takes calls
        self.retiring = False  # it was told to end
        self.sending = threading.Lock()
        self.number = 1  # of the next call, for its claims
        self.sent: list[Sent] = []  # and not over
        self.load = 0  # calls in these
        self.given = 0  # calls, ever
        self.seconds = 1.0  # that a call takes, of late


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
        self._most_tasks = most_tasks
        self._replace = replace
        self._retries = retries
        self._pool = pool
        # Forking later, when there are threads, is asking for trouble.
        self._at_once = forks and not replace
        self._pid = os.getpid()
        # Reentrant: a collection may drop an executor anywhere.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # notified when calls or workers run out
        # Guarded by _lock.
        self._workers: list[Worker] = []
        self._queue: collections.deque[Task] = collections.deque()
        self._names = itertools.count(1)
        self._in_flight = 0  # calls with workers
        self._broken: str | None = None
        self._shut = False
        self._ended = False  # the workers were told to end

    # ---- Calls come, and answers

    def check(self) -> None:
        """Raises WorkerDied or RuntimeError if no calls are taken any more."""
        if self._pid != os.getpid():
            raise Forked("this executor belongs to the parent process; a forked child has to make its own")
        if self._broken is not None:
            raise WorkerDied(self._broken)
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    # What is under way here is not cut short by Ctrl-C: a call that is lost between two of these
    # lines would never end.

    def add(self, task: Task) -> None:
        _core.undisturbed(self._add, task)

    def _add(self, task: Task) -> None:
        with self._lock:
            self.check()
            self._queue.append(task)
            waiting = len(self._queue)
            if len(self._workers) < self._most:
                self._start_workers()
        # Where others wait already there is no room, and who makes room feeds.
        if waiting == 1:
            self._feed()
        elif waiting % _LOOK_EACH == 0:
            for worker in [*self._workers]:
                if worker.ready:
                    worker.core.dispatch()

    def receive(self, sent: Sent) -> None:
        """Takes in the answers that have come. On the thread that received them."""
        _core.undisturbed(self._receive, sent)

    def _receive(self, sent: Sent) -> None:
        worker = sent.worker
        with self._lock:
            answers = sent.collect()
            self._gave(worker, len(answers))
            if sent.seconds is not None:
                # Up at once, down little by little, or at once where it was far off.
                new, old = sent.seconds, worker.seconds
                worker.seconds = new if new > old else min(0.8 * old + 0.2 * new, 4 * new)
            lost = self._end_of(sent) if sent.over else []
        self._feed()
        answers.reverse()
        while answers:  # popped, so that nothing here keeps what a result holds
            task, answer = answers.pop()
            task.finish(worker.client, answer)
            del task, answer
        for task, error in lost:
            task.fail(error)
        self._rest()

    def _gave(self, worker: Worker, count: int) -> None:
        """So many calls are not with `worker` any more. With the lock."""
        worker.load -= count
        self._in_flight -= count
        if worker.retiring and worker.ready and worker.load == 0:
            self._retire(worker)

    def _end_of(self, sent: Sent) -> list[tuple[Task, BaseException]]:
        """The calls that fail as they were not answered, and with what; others are made again.
        With the lock."""
        worker = sent.worker
        if sent not in worker.sent:
            return []
        worker.sent.remove(sent)
        error = sent.lost
        again: list[Task] = []
        died = isinstance(error, ConnectionLost | Closed)
        if died:
            worker.ready = False
            error = WorkerDied(f"a worker process ended while a call was with it: {error}")
            if worker.process is not None and worker.process.claims is not None:
                # What has not begun does not begin any more, and may be given to another.
                last = (worker.number - 1) & 0xFFFFFFFF
                again = sent.take_back(worker.process.claims.recall(last))
                self._gave(worker, len(again))
        rest = [task for task in sent.tasks if task is not None]
        self._gave(worker, len(rest))
        sent.tasks = [None] * len(sent.tasks)
        for task in rest:
            task.tries += 1
        if died and self._replace and self._broken is None:
            again += [task for task in rest if task.tries <= self._retries]
            rest = [task for task in rest if task.tries > self._retries]
            self._put_back(again)
        else:
            rest = again + rest
        return [(task, error or Error("a worker did not answer a call")) for task in rest]

    # ---- Which call goes where

    def _choose(self) -> Sent | None:
        """What is to be sent next. With the lock."""
        while self._queue:
            ready = [worker for worker in self._workers if worker.ready and not worker.retiring]
            if not ready:
                return None
            worker = min(ready, key=lambda each: each.load)
            assert worker.process is not None
            ahead = 1
            if worker.process.claims is not None and self._most_tasks is None:
                ahead = min(_MOST_AHEAD, int(_AHEAD_SECONDS / max(worker.seconds, 1e-6)))
            if worker.load and (worker.load >= ahead or len(worker.sent) >= _MESSAGES):
                return None
            most = max(1, min(ahead // _MESSAGES, -(-len(self._queue) // len(ready))))
            tasks: list[Task] = []
            while self._queue and len(tasks) < most and not (tasks and self._queue[0].large):
                task = self._queue.popleft()
                if task.runs():
                    tasks.append(task)
                    if task.large:
                        break
            if not tasks:
                continue  # all were cancelled
            worker.load += len(tasks)
            worker.given += len(tasks)
            self._in_flight += len(tasks)
            if self._most_tasks is not None and worker.given >= self._most_tasks:
                worker.retiring = True
            return (SentCall if worker.process.claims is None else Packet)(worker, tasks)
        self._rest()
        return None

    def _feed(self) -> None:
        """Sends what waits to workers that have room. Any thread, without the lock."""
        while True:
            with self._lock:
                sent = self._choose()
            if sent is None:
                if not self._take_back():
                    return
            elif not self._send(sent):
                return

    def _send(self, sent: Sent) -> bool:
        """False if the worker has no room for it now."""
        worker = sent.worker
        tasks = [task for task in sent.tasks if task is not None]
        failed: BaseException | None = None
        try:
            with worker.sending:
                started = sent.start()
                if started:
                    with self._lock:
                        worker.sent.append(sent)
                        for task in tasks:
                            task.sent = sent
        except BaseException as error:
            started, failed = False, error
        if started:
            sent.watch()
            receiving().kick(False)
            return True
        gone = isinstance(failed, ConnectionLost | Closed)
        with self._lock:
            broken = self._broken if failed is None or gone else None
            if (failed is None or gone) and broken is None:  # it was not sent
                self._put_back(tasks)
            if gone:
                worker.ready = False
            self._gave(worker, len(tasks))
            alone = worker.load == 0
        if broken is not None:  # and what was pending has failed
            failed, gone = WorkerDied(broken), False
        if failed is not None and not gone:
            for task in tasks:
                task.fail(failed)
            self._rest()
        elif alone and not gone:
            threading.Timer(_ROOM_SECONDS, self._feed).start()
        return failed is not None

    def _put_back(self, tasks: list[Task]) -> None:
        """They are to be sent again, before others. With the lock."""
        self._queue.extendleft(reversed(tasks))
        if tasks and len(self._workers) < self._most:
            self._start_workers()  # the worker that they were for may be gone already

    def _take_back(self) -> bool:
        """Where a worker has nothing to do, and another has calls that wait behind the one that
        runs there: takes these back. True if there were some."""
        with self._lock:
            if self._queue or not self._in_flight:
                return False
            ready = [worker for worker in self._workers if worker.ready and not worker.retiring]
            if all(worker.load for worker in ready):
                return False
            worker = max(ready, key=lambda each: each.load)
            if worker.load < 2 or worker.process is None or worker.process.claims is None:
                return False
        with worker.sending, self._lock:
            begun = worker.process.claims.recall((worker.number - 1) & 0xFFFFFFFF)
            taken = [task for sent in worker.sent for task in sent.take_back(begun)]
            self._queue.extendleft(reversed(taken))
            self._gave(worker, len(taken))
        return bool(taken)

    def _rest(self) -> None:
        """Once the last call has ended: tells who waits for that."""
        with self._lock:
            if not self._shut or self._in_flight or self._queue:
                return
            self._changed.notify_all()
            if not self._ended:
                self._ended = True
                threading.Thread(target=self._end, name="pannier-shutdown").start()

    # ---- Processes

    def _start_workers(self) -> None:
        """As many as there are calls for. With the lock."""
        if self._ended:
            return
        alive = [worker for worker in self._workers if not worker.retiring]
        idle = sum(1 for worker in alive if worker.load == 0)
        wanted = self._most if self._at_once else len(alive) + len(self._queue) - idle
        new = [Worker(self, next(self._names)) for _ in range(min(wanted, self._most) - len(alive))]
        self._workers += new
        # All processes before the first thread, and here: at the end of the program a new process
        # would not find its main module any more.
        for worker in new:
            try:
                worker.process = self._start()
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
            with self._lock:
                worker.started = True
                worker.ready = not self._ended
                if self._ended:
                    self._retire(worker)
            self._feed()
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
                return Client(address, pool=self._pool, connect_timeout=timeout)
            except DeadlineExceeded:
                # It listens: what takes long now is the machine, or the process was ended.
                if not process.alive or timeout > START_SECONDS:
                    raise
            timeout *= 2

    def _gone(self, worker: Worker, why: str) -> None:
        with self._lock:
            worker.ready = False
            expected = worker.retiring or self._ended
            broken = not expected and not (self._replace and worker.started)
        if broken:
            self._break(why)
        with self._lock:
            self._workers.remove(worker)
            if self._queue:
                self._start_workers()
            self._changed.notify_all()
        self._feed()
        self._rest()

    def _break(self, why: str) -> None:
        """Fails all that is pending, and ends what is left."""
        with self._lock:
            if self._broken is None:
                self._broken = why
            self._ended = True
            tasks = [task for task in self._queue if task.runs()]
            self._queue.clear()
            for worker in self._workers:
                if worker.process is not None:
                    worker.process.terminate()
        for task in tasks:
            task.fail(WorkerDied(why))

    def _retire(self, worker: Worker) -> None:
        """Tells a worker to end when it has answered. With the lock."""
        worker.ready = False
        worker.retiring = True
        assert worker.process is not None
        if worker.process.claims is None:
            worker.process.terminate()  # WorkerMain ends in good order
            return
        try:
            worker.core.notify(STOP, _NO_ARGUMENTS, (), False, 1.0)
        except (Error, OSError):
            worker.process.terminate()

    # ---- The end

    def shutdown(self, wait: bool = True, cancel: bool = False) -> None:
        if self._pid != os.getpid():
            return  # the parent's; and its threads, which might hold the lock, are not here
        with self._lock:
            self._shut = True
        if cancel:
            _core.undisturbed(self._cancel)
        if wait:
            with self._lock:
                self._changed.wait_for(lambda: not (self._in_flight or self._queue))
            self._end()
        else:
            self._rest()

    def _cancel(self) -> None:
        with self._lock:
            # Those that were sent once run, as Futures, and are not cancelled.
            cancelled = [task for task in self._queue if not task.running()]
            kept = [task for task in self._queue if task.running()]
            self._queue = collections.deque(kept)
        while cancelled:  # without the lock: callbacks are called
            task = cancelled.pop(0)
            task.cancel()
            task._notify_cancel()

    def _end(self) -> None:
        """Ends the processes, and waits for that. Any number of times."""
        with self._lock:
            self._ended = True
            for worker in self._workers:
                if worker.ready:
                    self._retire(worker)
                elif worker.process is not None and not worker.retiring:
                    worker.process.terminate()  # it has not begun
            if not self._changed.wait_for(lambda: not self._workers, _END_SECONDS):
                for worker in self._workers:
                    if worker.process is not None:
                        worker.process.kill()
                self._changed.wait_for(lambda: not self._workers, _END_SECONDS)

    def describe(self) -> str:
        with self._lock:
            state = "broken" if self._broken else "shut down" if self._shut else "open"
            return (
                f"{state}, {len(self._workers)} of {self._most} workers, {self._in_flight} calls "
                f"with them, {len(self._queue)} waiting"
            )
