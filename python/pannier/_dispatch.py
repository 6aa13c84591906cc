"""Which call of an Executor goes to which worker, and what becomes of the answers."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import _core
from ._futures import receiving
from ._sent import Sent, sent_of
from ._tasks import Task, WorkerDied
from .errors import Closed, ConnectionLost, Error

if TYPE_CHECKING:
    from ._workers import Worker, Workers

__all__ = ["Dispatch"]

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


class Dispatch:
    """The calls that wait, and those that are with workers. Any thread.

    What says "with the lock" is called with that of Workers; all else without it. What is under
    way is not cut short by Ctrl-C: a call that is lost between two lines would never end.
    """

    def __init__(
        self, workers: Workers, *, most_tasks: int | None, replace: bool, retries: int
    ) -> None:
        self._workers = workers
        self._lock = workers.lock
        self._most_tasks = most_tasks  # of one worker
        self._replace = replace
        self._retries = retries
        # Guarded by _lock.
        self.queue: collections.deque[Task] = collections.deque()
        self.in_flight = 0  # calls with workers
        # Threads, by ident, that end the futures of calls which are not counted any more. Entered
        # with the lock, left without: each of these is one step of the interpreter's.
        self.ending: list[int] = []

    def add(self, task: Task) -> None:
        """A new call. Raises what Workers.check raises."""
        _core.undisturbed(self._add, task)

    def _add(self, task: Task) -> None:
        workers = self._workers
        with self._lock:
            workers.check()
            self.queue.append(task)
            waiting = len(self.queue)
            workers.start_for_calls()
            # Where others wait already there is no room, and who makes room sends.
            sent = self._choose() if waiting == 1 else None
        if sent is not None:
            self._send_all(sent)
        elif waiting % _LOOK_EACH == 0:
            for worker in [*workers.all]:
                if worker.ready:
                    worker.core.dispatch()

    # ---- Calls go

    def feed(self) -> None:
        """Sends what waits to workers that have room."""
        while True:
            with self._lock:
                sent = self._choose()
            if sent is not None:
                self._send_all(sent)
            if not self._take_back():
                break
        self._workers.rest()  # what waited may have been cancelled

    def _choose(self) -> Sent | None:
        """What is to be sent next; counted as with its worker. With the lock."""
        while self.queue:
            worker = self._workers.least_loaded()
            if worker is None or len(worker.sent) >= _MESSAGES:
                return None
            ahead = 1
            if worker.load or len(self.queue) > 1:
                ahead = self._ahead(worker)
                if worker.load >= ahead:
                    return None
            tasks = self._pick(ahead // _MESSAGES)
            if tasks:  # else all were cancelled
                count = len(tasks)
                worker.load += count
                worker.given += count
                self.in_flight += count
                if worker.given == self._most_tasks:
                    worker.retires = True
                return sent_of(worker, tasks)
        return None

    def _ahead(self, worker: Worker) -> int:
        """So many calls may be with `worker`."""
        if self._most_tasks is not None or worker.claims is None:
            return 1
        ahead = int(_AHEAD_SECONDS / max(worker.claims.seconds, 1e-6))
        return max(1, min(ahead, _MOST_AHEAD))

    def _pick(self, most: int) -> list[Task]:
        """At most so many of those that wait, or one, and no more than each worker's share. With
        the lock."""
        if len(self.queue) > 1 and most > 1:
            most = min(most, -(-len(self.queue) // self._workers.count_ready()))
        tasks: list[Task] = []
        while self.queue and (not tasks or (len(tasks) < most and not self.queue[0].large)):
            task = self.queue.popleft()
            if task.runs():
                tasks.append(task)
                if task.large:
                    break
        return tasks

    def _send_all(self, sent: Sent | None) -> None:
        """Sends it, and what else there is room for."""
        while sent is not None and self._send(sent):
            with self._lock:
                sent = self._choose()

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
        self._not_sent(worker, tasks, failed)
        return failed is not None

    def _not_sent(self, worker: Worker, tasks: list[Task], failed: BaseException | None) -> None:
        """There was no room, or it failed."""
        gone = isinstance(failed, ConnectionLost | Closed)
        with self._lock:
            broken = self._workers.broken if failed is None or gone else None
            if (failed is None or gone) and broken is None:
                self._put_back(tasks)
            if gone:
                worker.ready = False
            self._gave(worker, len(tasks))
            alone = worker.load == 0
            if broken is not None:  # and what was pending has failed
                failed, gone = WorkerDied(broken), False
            if failed is not None and not gone:
                self.ending.append(threading.get_ident())
        if failed is not None and not gone:
            self.fail_all([(task, failed) for task in tasks])
            self._workers.rest()
        elif alone and not gone:
            threading.Timer(_ROOM_SECONDS, self.feed).start()

    def _put_back(self, tasks: list[Task]) -> None:
        """They are to be sent again, before others. With the lock."""
        self.queue.extendleft(reversed(tasks))
        if tasks:
            self._workers.start_for_calls()  # the worker that they were for may be gone already

    def _take_back(self) -> bool:
        """Where a worker has nothing to do, and another has calls that wait behind the one that
        runs there: takes these back. True if there were some."""
        if self.in_flight < 2:
            return False
        with self._lock:
            idle, worker = self._workers.least_loaded(), self._workers.most_loaded()
            if self.queue or idle is None or idle.load or worker is None or worker.load < 2:
                return False
            claims = worker.claims
            if claims is None:
                return False
        with worker.sending, self._lock:
            if self._workers.broken is not None:
                return False  # nobody would send them; they fail with their worker
            begun = claims.recall((worker.number - 1) & 0xFFFFFFFF)
            taken = [task for sent in worker.sent for task in sent.take_back(begun)]
            self.queue.extendleft(reversed(taken))
            self._gave(worker, len(taken))
        return bool(taken)

    # ---- Answers come

    def receive(self, sent: Sent) -> None:
        """Takes in the answers that have come."""
        _core.undisturbed(self.take_in, sent)

    def take_in(self, sent: Sent) -> None:
        """The same, where it is not disturbed."""
        worker = sent.worker
        with self._lock:
            answers = sent.collect()
            self._gave(worker, len(answers))
            lost = self._end_of(sent) if sent.over else ()
            self.ending.append(threading.get_ident())
        try:
            if self.queue or self.in_flight > 1:
                self.feed()
            answers.reverse()
            while answers:  # popped, so that nothing here keeps what a result holds
                task, answer = answers.pop()
                if isinstance(answer, BaseException):
                    task.fail(answer)
                else:
                    task.finish(worker.client, *answer)
                del task, answer
        finally:
            self.fail_all(lost)
        self._workers.rest()

    def fail_all(self, tasks: Sequence[tuple[Task, BaseException]]) -> None:
        """REQUIRES: the thread is in `ending`, once for this; it leaves."""
        try:
            for task, error in tasks:
                task.fail(error)
        finally:
            self.ending.remove(threading.get_ident())

    def _gave(self, worker: Worker, count: int) -> None:
        """So many calls are not with `worker` any more. With the lock."""
        worker.load -= count
        self.in_flight -= count
        if worker.load == 0 and worker.ready and worker.retires:
            self._workers.retire(worker)

    def _end_of(self, sent: Sent) -> Sequence[tuple[Task, BaseException]]:
        """The calls that fail as they were not answered, and with what; others are made again.
        With the lock."""
        worker = sent.worker
        if sent not in worker.sent:
            return ()
        worker.sent.remove(sent)
        error = sent.lost
        if error is None and not any(sent.tasks):
            return ()
        again: list[Task] = []
        # The answer of a program may be such an error, too.
        died = isinstance(error, ConnectionLost | Closed) and not worker.core.alive
        if died:
            worker.ready = False
            error = WorkerDied(f"a worker process ended while a call was with it: {error}")
            if worker.claims is not None:
                # What has not begun does not begin any more, and may be given to another.
                again = sent.take_back(worker.claims.recall((worker.number - 1) & 0xFFFFFFFF))
                self._gave(worker, len(again))
        rest = [task for task in sent.tasks if task is not None]
        self._gave(worker, len(rest))
        sent.tasks = [None] * len(sent.tasks)
        for task in rest:
            task.tries += 1
        if died and self._replace and self._workers.broken is None:
            again += [task for task in rest if task.tries <= self._retries]
            rest = [task for task in rest if task.tries > self._retries]
            self._put_back(again)
        else:
            rest = again + rest
        return [(task, error or Error("a worker did not answer a call")) for task in rest]

    # ---- Calls that no worker gets

    def take_waiting(self) -> list[Task]:
        """Those that wait, which are to be failed. With the lock."""
        tasks = [task for task in self.queue if task.runs()]
        self.queue.clear()
        return tasks

    def cancel(self) -> None:
        """Cancels those that no worker has had yet."""
        _core.undisturbed(self._cancel)

    def _cancel(self) -> None:
        with self._lock:
            # Those that were sent once run, as Futures, and are not cancelled.
            cancelled = [task for task in self.queue if not task.running()]
            kept = [task for task in self.queue if task.running()]
            self.queue = collections.deque(kept)
        while cancelled:  # without the lock: callbacks are called
            task = cancelled.pop(0)
            task.cancel()
            task._notify_cancel()
