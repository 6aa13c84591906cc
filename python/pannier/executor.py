"""Workers in other processes, with the interface of ``concurrent.futures``."""

from __future__ import annotations

import collections
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import secrets
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as _Executor
from concurrent.futures import Future
from concurrent.futures._base import RUNNING
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ._exit import shut_down_at_exit
from ._futures import CallFuture, receiving
from ._worker import RUN, STOP, dumps_anything, dumps_by_value, main
from .client import Client
from .errors import Closed, ConnectionLost, Error, RemoteTraceback

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Executor", "WorkerDied"]

T = TypeVar("T")

# Calls that take less than this are sent to a worker ahead of its turn, as many as take so long
# together, and at most so many: the way to the worker and back takes a tenth of it.
_AHEAD_SECONDS = 0.001
_MOST_AHEAD = 32
# How long a worker has to say that it listens, and to end when it was told to.
_START_SECONDS = 120.0
_END_SECONDS = 30.0


class WorkerDied(ConnectionLost, BrokenProcessPool):
    """A worker process ended while a call was with it, or before its turn came."""


class Executor(_Executor):
    """Calls functions in worker processes: a ``concurrent.futures.ProcessPoolExecutor`` whose
    arguments and results travel as those of ``Client`` do, large arrays by lease.

    All that is documented of ProcessPoolExecutor holds. `max_workers` processes are started as
    calls come. Lambdas, closures and what else pickle refuses work where cloudpickle is
    installed. `start_method`: as of ``multiprocessing.get_context``; None is the default of
    multiprocessing, or "forkserver" where workers are started anew later on (`replace`,
    `max_tasks_per_child`). `initializer(*initargs)` runs in each worker before its first call.

    The client chooses the worker with the fewest calls. Calls are sent to a worker one by one,
    but short ones (together a millisecond, by those before) ahead of their turn.

    When a worker dies, the executor is broken: all that is pending fails with WorkerDied, which is
    a BrokenProcessPool. With `replace=True` only the calls that were with that worker fail, and a
    new one takes its place; with `retries=` such calls are made again, at most so often, as they
    may run twice.

    `command`: workers are not Python: each runs this program, which calls ``pannier::WorkerMain``.
    Then ``call("blur", image, 2.0)`` and ``submit("blur", image, 2.0)`` name its methods.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        command: Sequence[str | os.PathLike[str]] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        start_method: str | None = None,
        max_tasks_per_child: int | None = None,
        replace: bool = False,
        retries: int = 0,
        pool: Pool | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = len(os.sched_getaffinity(0))
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if start_method == "fork":
                raise ValueError("max_tasks_per_child needs another start_method than 'fork'")
        start: _Start
        if command is not None:
            if initializer is not None or start_method is not None:
                raise ValueError("initializer and start_method are for workers in Python")
            start = partial(_start_command, [os.fspath(word) for word in command])
        else:
            if start_method is None and (replace or max_tasks_per_child is not None):
                start_method = "forkserver"
            context = multiprocessing.get_context(start_method)
            start_method = context.get_start_method()
            start = partial(_start_python, context, initializer, initargs)
        self._named = command is not None
        # By reference, a forked child finds what only this program's memory defines.
        main_module = sys.modules.get("__main__")
        self._by_value = start_method != "fork" and not hasattr(main_module, "__file__")
        self._workers = _Workers(
            start, max_workers, max_tasks_per_child, replace, retries, pool, start_method == "fork"
        )
        # An executor that is dropped ends when all that is pending is done.
        self._finalizer = weakref.finalize(self, self._workers.shutdown, wait=False, cancel=False)
        self._finalizer.atexit = False  # _exit does it, and waits
        shut_down_at_exit(self._workers)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls ``fn(*args, **kwargs)`` in a worker; with `command`, the method that `fn` names.

        What cannot be pickled fails the future that is returned. Raises RuntimeError after
        ``shutdown``, WorkerDied once the executor is broken.
        """
        self._workers.check()
        if self._named:
            if not isinstance(fn, str):
                raise TypeError(f"workers of another program have methods by name, not {fn!r}")
            method, args = fn, args
        else:
            method, args = RUN, (fn, *args)
        future = _TaskFuture(method, bool(kwargs))
        try:
            dumps = dumps_by_value if self._by_value and _is_of_main(fn) else dumps_anything
            future._stream, future._buffers = dumps((args, kwargs) if kwargs else args)
        except Exception as error:
            future.set_running_or_notify_cancel()
            future.set_exception(error)
            return future
        self._workers.add(future)
        return future

    def call(self, fn: Any, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """The result of ``submit``; on TimeoutError the call is cancelled, if it has not begun."""
        future = self.submit(fn, *args, **kwargs)
        try:
            return future.result(timeout)
        finally:
            future.cancel()
            del future

    def map(  # type: ignore[override]
        self,
        fn: Any,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """As of ProcessPoolExecutor: results in order; `chunksize` items travel together."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1 or self._named:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return _flat(super().map(partial(_run_chunk, fn), chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of ProcessPoolExecutor: no more calls are taken, those that came are finished, or
        cancelled where they have not begun; then the workers end."""
        self._workers.shutdown(wait=wait, cancel=cancel_futures)

    def __repr__(self) -> str:
        return f"<pannier.Executor: {self._workers.describe()}>"


def _is_of_main(fn: Any) -> bool:
    return getattr(fn, "__module__", None) == "__main__"


def _chunks(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _run_chunk(fn: Callable[..., Any], chunk: tuple[Any, ...]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _flat(results: Iterator[list[Any]]) -> Iterator[Any]:
    for chunk in results:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


class _TaskFuture(CallFuture):
    """A call of an executor. It runs, as a Future, from when it was sent to a worker."""

    def __init__(self, method: str, keywords: bool) -> None:
        super().__init__()
        self._method = method
        self._keywords = keywords
        self._stream: Any = b""
        self._buffers: Any = ()
        self._tries = 0
        self._sent = 0.0
        self._workers: _Workers | None = None
        self._worker: _Worker | None = None

    def _on_done(self) -> None:
        workers, worker = self._workers, self._worker
        if workers is not None and worker is not None:
            workers.done(self, worker)  # first: it sends what waits, and the worker goes on
        super()._on_done()

    def _fail(self, error: BaseException) -> None:
        local = not isinstance(error.__cause__, RemoteTraceback)
        if local and isinstance(error, ConnectionLost | Closed):
            workers = self._workers
            if workers is not None and workers.again(self):
                return
            error = WorkerDied(f"the worker process ended while the call was with it: {error}")
        self._stream, self._buffers = b"", ()
        super()._fail(error)

    def _succeed(self, value: Any) -> None:
        self._stream, self._buffers = b"", ()
        super()._succeed(value)


_Process = Any  # multiprocessing.Process or subprocess.Popen
_Start = Callable[[], "tuple[_Process, Callable[[], str]]"]


class _Worker:
    """One process. Guarded by _Workers._lock but for what is constant once it is ready."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: _Process = None
        self.client: Client | None = None
        self.ready = False
        self.retiring = False  # it was told to end
        self.dead = False
        self.load = 0  # calls with it
        self.given = 0  # calls, ever
        self.seconds = 1.0  # that a call takes, of late


class _Workers:
    """What an Executor stands on; lives until its processes have ended."""

    def __init__(
        self,
        start: _Start,
        most: int,
        most_tasks: int | None,
        replace: bool,
        retries: int,
        pool: Pool | None,
        at_once: bool,
    ) -> None:
        self._start = start
        self._most = most
        self._most_tasks = most_tasks
        self._replace = replace
        self._retries = retries
        self._pool = pool
        # Forking later, when there are threads, is asking for trouble.
        self._at_once = at_once and not replace
        # Reentrant: a collection may drop an executor anywhere.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._workers: list[_Worker] = []
        self._queue: collections.deque[_TaskFuture] = collections.deque()
        self._numbers = itertools.count(1)
        self._in_flight = 0
        self._broken: str | None = None
        self._shut = False
        self._ended = False
        self._feeding = False

    # ---- Calls

    def check(self) -> None:
        if self._broken is not None:
            raise WorkerDied(self._broken)
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def add(self, task: _TaskFuture) -> None:
        task._workers = self
        with self._lock:
            self.check()
            self._queue.append(task)
            self._start_workers()
        self._feed()

    def _start_workers(self) -> None:
        """As many as there are calls for. With the lock."""
        alive = [worker for worker in self._workers if not worker.dead and not worker.retiring]
        idle = sum(1 for worker in alive if worker.load == 0)
        wanted = self._most if self._at_once and self._queue else len(alive) + len(self._queue) - idle
        new: list[tuple[_Worker, Callable[[], str] | None]] = []
        for _ in range(min(wanted, self._most) - len(alive)):
            worker = _Worker(next(self._numbers))
            ready = None
            if self._at_once:  # all, before there are threads
                worker.process, ready = self._start()
            self._workers.append(worker)
            new.append((worker, ready))
        for worker, ready in new:
            threading.Thread(
                target=self._attend,
                args=(worker, ready),
                name=f"pannier-worker-{worker.number}",
                daemon=True,
            ).start()

    def _next(self) -> tuple[_TaskFuture, _Worker] | None:
        """A call and the worker that is to have it. With the lock."""
        if not self._queue:
            return None
        best: _Worker | None = None
        for worker in self._workers:
            if worker.ready and not worker.retiring and (best is None or worker.load < best.load):
                best = worker
        if best is None:
            return None
        if best.load > 0:
            ahead = min(_AHEAD_SECONDS / max(best.seconds, 1e-6), _MOST_AHEAD)
            if best.load > ahead:
                return None
        task = self._queue.popleft()
        best.load += 1
        best.given += 1
        self._in_flight += 1
        if self._most_tasks is not None and best.given >= self._most_tasks:
            best.retiring = True
        return task, best

    def _feed(self) -> None:
        """Sends what waits to workers that have room. On any thread, and not inside itself."""
        while True:
            with self._lock:
                chosen = self._next()
            if chosen is None:
                return
            task, worker = chosen
            # One that is made again runs already, as a Future.
            if task._state != RUNNING and not task.set_running_or_notify_cancel():
                self._back(worker)
            elif not self._send(task, worker):
                return

    def _send(self, task: _TaskFuture, worker: _Worker) -> bool:
        """False if the worker has no room for it now."""
        client = worker.client
        assert client is not None
        task._tries += 1
        task._worker = worker
        task._sent = time.perf_counter()
        try:
            pending = client._core.start(
                task._method, task._stream, task._buffers, task._keywords, None, False
            )
        except Error as error:  # the worker is gone, as its thread will find out
            self._back(worker)
            if isinstance(error, ConnectionLost | Closed):
                with self._lock:
                    worker.ready = False
            task._fail(error)
            return True
        except BaseException as error:
            self._back(worker)
            task._fail(error)
            return True
        if pending is None:
            with self._lock:
                self._queue.appendleft(task)
                waits = worker.load == 1
            self._back(worker)
            if waits:  # no reply will come that tells of room
                threading.Timer(0.005, self._feed).start()
            return False
        task._begin(pending, client)
        receiving().kick(False)
        return True

    def _back(self, worker: _Worker) -> None:
        with self._lock:
            worker.load -= 1
            self._in_flight -= 1
            if worker.retiring and worker.load == 0:
                self._retire(worker)
            if self._in_flight == 0 and not self._queue:
                self._changed.notify_all()
                if self._shut:
                    self._end_soon()

    def done(self, task: _TaskFuture, worker: _Worker) -> None:
        """A call's reply has come. On the thread that received it."""
        took = time.perf_counter() - task._sent
        with self._lock:
            each = took / max(worker.load, 1)
            worker.seconds = each if each > worker.seconds else 0.8 * worker.seconds + 0.2 * each
            if worker.seconds > each * 4:
                worker.seconds = each * 4
        self._back(worker)
        if self._queue:
            self._feed()

    def again(self, task: _TaskFuture) -> bool:
        """True if a call whose worker died will be made once more."""
        with self._lock:
            if not self._replace or task._tries > self._retries or self._broken is not None or self._ended:
                return False
            self._queue.appendleft(task)
            self._start_workers()
        # Not on this thread's stack: it may come from sending.
        threading.Thread(target=self._feed, daemon=True).start()
        return True

    # ---- Processes

    def _attend(self, worker: _Worker, ready: Callable[[], str] | None) -> None:
        """The life of a worker, on a thread of its own."""
        try:
            if ready is None:
                worker.process, ready = self._start()
            if self._ended:
                worker.process.terminate()
            address = ready()
            # It listens: what takes long now is the machine.
            worker.client = Client(address, pool=self._pool, connect_timeout=_START_SECONDS)
            receiving().add(worker.client._core)
            with self._lock:
                worker.ready = not self._ended
            self._feed()
        except BaseException as error:
            self._gone(worker, f"a worker process could not be started: {error}")
        else:
            _wait_for_end(worker.process)
            self._gone(worker, f"worker process {worker.process.pid} ended unexpectedly")

    def _gone(self, worker: _Worker, why: str) -> None:
        started = worker.ready
        with self._lock:
            worker.ready = False
            worker.dead = True
            self._workers.remove(worker)
            expected = worker.retiring or self._ended
            broken = not expected and (not self._replace or not started)
            self._changed.notify_all()
        if worker.client is not None:
            receiving().kick(True)
            worker.client._core.dispatch()  # its calls fail now
            worker.client.close()
        if broken:
            self._break(why)
            return
        with self._lock:
            if self._queue:
                self._start_workers()
        self._feed()
        with self._lock:
            if self._shut and self._in_flight == 0 and not self._queue:
                self._end_soon()

    def _break(self, why: str) -> None:
        """Fails all that is pending, and kills what is left."""
        with self._lock:
            if self._broken is None:
                self._broken = why
            tasks = list(self._queue)
            self._queue.clear()
            self._ended = True
            workers = list(self._workers)
        for task in tasks:
            if task._state == RUNNING or task.set_running_or_notify_cancel():
                task._fail(WorkerDied(why))
        for worker in workers:
            if worker.process is not None:
                worker.process.terminate()

    def _retire(self, worker: _Worker) -> None:
        """Tells a worker to end when it has answered. With the lock."""
        worker.ready = False
        worker.retiring = True
        if isinstance(worker.process, subprocess.Popen):
            worker.process.terminate()  # WorkerMain ends in good order
        elif worker.client is not None:
            with contextlib.suppress(Error, OSError):
                worker.client._core.notify(STOP, _NO_ARGUMENTS, (), False, 1.0)

    # ---- The end

    def shutdown(self, wait: bool = True, cancel: bool = False) -> None:
        with self._lock:
            self._shut = True
            cancelled = list(self._queue) if cancel else []
            if cancel:
                self._queue.clear()
        for task in cancelled:
            if task.cancel():
                task.set_running_or_notify_cancel()
            else:  # it is to be made again
                with self._lock:
                    self._queue.append(task)
        if not wait:
            with self._lock:
                if self._in_flight == 0 and not self._queue:
                    self._end_soon()
            return
        with self._lock:
            while (self._in_flight > 0 or self._queue) and self._broken is None:
                receiving().kick(True)
                self._changed.wait(1.0)
        self._end()

    def _end_soon(self) -> None:
        if not self._ended:
            threading.Thread(target=self._end, name="pannier-shutdown").start()

    def _end(self) -> None:
        """Ends the processes, and waits for that. Any number of times."""
        with self._lock:
            self._ended = True
            workers = list(self._workers)
            for worker in workers:
                if worker.ready:
                    self._retire(worker)
                elif worker.process is not None and not worker.retiring:
                    worker.process.terminate()  # it has not begun
            self._changed.wait_for(lambda: not self._workers, _END_SECONDS)
            workers = list(self._workers)
        for worker in workers:
            if worker.process is not None:
                worker.process.kill()
        with self._lock:
            self._changed.wait_for(lambda: not self._workers, _END_SECONDS)

    def describe(self) -> str:
        with self._lock:
            state = "broken" if self._broken else "shut down" if self._shut else "open"
            return (
                f"{state}, {len(self._workers)} of {self._most} workers, {self._in_flight} calls "
                f"with them, {len(self._queue)} waiting"
            )


_NO_ARGUMENTS = dumps_anything(())[0]


def _start_python(
    context: Any, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> tuple[_Process, Callable[[], str]]:
    """A process that runs _worker.main, and what waits until it listens and gives the address."""
    receiver, sender = context.Pipe(duplex=False)
    # An abstract socket: no file that could be left behind.
    address = f"ipc://@pannier-{os.getpid()}-{secrets.token_hex(8)}"
    process = context.Process(target=main, args=(address, sender, initializer, initargs))
    process.start()
    sender.close()

    def ready() -> str:
        with receiver:
            multiprocessing.connection.wait([receiver, process.sentinel], _START_SECONDS)
            if receiver.poll(0):
                with contextlib.suppress(EOFError):
                    listens: str = receiver.recv()
                    return listens
            process.terminate()
            process.join()
            raise RuntimeError(f"it ended with exit code {process.exitcode} before it listened")

    return process, ready


def _start_command(command: list[str]) -> tuple[_Process, Callable[[], str]]:
    """The same of a program that calls pannier::WorkerMain (rpc/worker.h)."""
    address = f"ipc://@pannier-{os.getpid()}-{secrets.token_hex(8)}"
    watched, held = os.pipe()
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, "--endpoint", address, "--parent-fd", str(watched), "--ready-fd", str(writing)],
            pass_fds=(watched, writing),
        )
    except BaseException:
        os.close(reading)
        os.close(held)
        raise
    finally:
        os.close(watched)
        os.close(writing)
    weakref.finalize(process, os.close, held)

    def ready() -> str:
        with open(reading) as pipe:
            listens = pipe.readline().strip()
        if not listens:
            process.terminate()
            raise RuntimeError(f"{command[0]} ended with {process.wait()} before it listened")
        return listens

    return process, ready


def _wait_for_end(process: _Process) -> None:
    if isinstance(process, subprocess.Popen):
        process.wait()
    else:
        multiprocessing.connection.wait([process.sentinel])
        process.join()
