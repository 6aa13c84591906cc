"""Workers in other processes, with the interface of ``concurrent.futures``."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as _Executor
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _core
from ._cloudpickling import dumps_anything, dumps_by_value
from ._exit import shut_down_at_exit
from ._processes import Process, start_command, start_python
from ._tasks import Task, WorkerDied
from ._workers import Workers

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Executor", "WorkerDied"]


class Executor(_Executor):
    """Calls functions in worker processes: a ``concurrent.futures.ProcessPoolExecutor`` whose
    arguments and results travel as those of ``Client`` do, large arrays by lease.

    All that is documented of ProcessPoolExecutor holds. `max_workers` processes are started as
    calls come. Lambdas, closures and what else pickle refuses work where cloudpickle is
    installed. `start_method`: as of ``multiprocessing.get_context``; None is the default of
    multiprocessing, or "forkserver" where workers are started anew later on (`replace`,
    `max_tasks_per_child`). `initializer(*initargs)` runs in each worker before its first call.

    The client chooses the worker with the fewest calls. Short calls are sent ahead of their turn,
    several in one message, and are taken back where they would wait behind a long one.

    When a worker dies, the executor is broken: all that is pending fails with WorkerDied, which is
    a BrokenProcessPool. With `replace=True` only the calls that had begun there fail, and a new
    worker takes its place; with `retries=` such calls are made again, at most so often, as they may
    run twice.

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
        start: Callable[[], Process]
        if command is not None:
            if initializer is not None or start_method is not None:
                raise ValueError("with a command, neither initializer nor start_method")
            start = partial(start_command, [os.fspath(word) for word in command])
        else:
            if start_method is None and (replace or max_tasks_per_child is not None):
                start_method = "forkserver"
            context = multiprocessing.get_context(start_method)
            start_method = context.get_start_method()
            start = partial(start_python, context, initializer, initargs)
        self._named = command is not None
        # By reference, a forked child finds what only this program's memory defines.
        main_module = sys.modules.get("__main__")
        self._by_value = start_method != "fork" and not hasattr(main_module, "__file__")
        self._workers = Workers(
            start,
            max_workers,
            most_tasks=max_tasks_per_child,
            replace=replace,
            retries=retries,
            pool=pool,
            forks=start_method == "fork",
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
        if self._named and not isinstance(fn, str):
            raise TypeError(f"workers of another program have methods by name, not {fn!r}")
        calls = self._workers.calls
        try:
            if self._named:
                stream, buffers = dumps_anything((args, kwargs) if kwargs else args)
            elif self._by_value and _is_of_main(fn):
                stream, buffers = dumps_by_value((fn, args, kwargs))
            else:
                short = None if kwargs else _core.dumps_call(fn, args)
                stream, buffers = (short, []) if short else dumps_anything((fn, args, kwargs))
        except Exception as error:
            self._workers.check()
            failed: Future[Any] = Future()
            failed.set_running_or_notify_cancel()
            failed.set_exception(error)
            return failed
        task = Task(calls, fn if self._named else "", stream, buffers, bool(kwargs))
        calls.add(task)
        return task

    def call(self, fn: Any, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """The result of ``submit``; on TimeoutError the call is cancelled, if it has not begun."""
        future = self.submit(fn, *args, **kwargs)
        try:
            return future.result(timeout)
        finally:
            future.cancel()
            del future

    def map(
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
        cancelled where they have not begun; then the workers end. In a callback of a future, where
        that one raises RuntimeError, this one does not wait."""
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
