"""What a worker process of an Executor runs."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._handlers import describe_failure, texts_of
from ._packets import Entry, pack, unpack
from .context import handling
from .pickling import Pickling
from .server import Server
from .trust import loads_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["RUN", "STOP", "dumps_anything", "dumps_by_value", "main"]

# The methods of a worker: call what is in a packet; end.
RUN = "pannier.run"
STOP = "pannier.stop"

# Answers do not wait longer than this for others of their packet.
_PATIENCE_SECONDS = 0.002


_pickle = Pickling()


def dumps_anything(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pickles `obj`, and by cloudpickle, where it is installed, what CPython's pickler cannot do:
    lambdas, closures, classes of functions. Raises what that one raised."""
    try:
        return _pickle(obj)
    except (pickle.PicklingError, AttributeError, TypeError):
        if _by_value() is None:
            raise
        with contextlib.suppress(Exception):
            return dumps_by_value(obj)
        raise


def dumps_by_value(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """As dumps_anything, and functions of ``__main__`` by value, where cloudpickle is installed."""
    return (_by_value() or _pickle)(obj)


@functools.cache
def _by_value() -> Pickling | None:
    try:
        import cloudpickle  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    return Pickling(None, cloudpickle.Pickler)


class _Runner:
    """The method RUN. Answers with packets whose head is (which call the first answer is of,
    seconds that one call took), and whose flags say: it raised."""

    def __init__(self, claims: _core.Claims) -> None:
        self._claims = claims
        self._lock = threading.Lock()
        # Guarded by _lock: answers of the packet that runs, and of which of its calls the first is.
        self._answers: list[Entry] = []
        self._first = 0
        self._began = 0.0
        self._context: _core.CallContext | None = None
        self._running = threading.Event()  # a packet of several calls
        threading.Thread(target=self._flush_late, name="pannier-answers", daemon=True).start()

    def __call__(
        self, stream: Any, buffers: Any, keywords: bool, context: _core.CallContext
    ) -> tuple[Any, Any] | _core.Failure:
        with handling(context):
            try:
                load = loads_for(context.same_user, context.peer, {})
                number, calls = unpack(stream, buffers)
                del stream, buffers  # what a call does not keep goes home when it returns
                if len(calls) == 1:
                    began = time.perf_counter()
                    if not self._claims.begin(number):
                        return pack((0, 0.0), ())
                    answer = _run(load, calls.pop())
                    return pack((0, time.perf_counter() - began), (answer,))
                return self._run_several(load, number, calls, context)
            except BaseException as error:
                return describe_failure(error)

    def _run_several(
        self, load: Any, number: int, calls: list[Entry], context: _core.CallContext
    ) -> tuple[bytes, list[Any]]:
        with self._lock:
            self._first = 0
            self._began = time.perf_counter()
            self._context = context
        self._running.set()
        try:
            calls.reverse()
            while calls and self._claims.begin(number):
                answer = _run(load, calls.pop())
                with self._lock:
                    self._answers.append(answer)
                del answer
                number = (number + 1) & 0xFFFFFFFF
        finally:
            with self._lock:
                self._context = None
                self._running.clear()
                rest = self._take()
        return rest

    def _take(self) -> tuple[bytes, list[Any]]:
        """The answers since the last time, as a packet. With the lock."""
        answers, self._answers = self._answers, []
        first = self._first
        self._first += len(answers)
        seconds = (time.perf_counter() - self._began) / max(self._first, 1)
        return pack((first, seconds), answers)

    def _flush_late(self) -> None:
        """Sends answers that would wait for a long call of their packet."""
        while True:
            self._running.wait()
            time.sleep(_PATIENCE_SECONDS)
            with self._lock, contextlib.suppress(Exception):  # the end, which _Runner finds out
                if self._answers and self._context is not None:
                    self._context.emit(self._take())


def _run(load: Any, call: Entry) -> Entry:
    try:
        function, args, kwargs = load(call[1], call[2])
        del call
        result = function(*args, **kwargs)
        del function, args, kwargs
        return (False, *dumps_anything(result))
    except BaseException as error:
        return True, pickle.dumps((*texts_of(error), _dumps_error(error)), 5), ()


def _dumps_error(error: BaseException) -> bytes:
    """Empty if it cannot be pickled."""
    with contextlib.suppress(Exception):
        return pickle.dumps(error, 5)
    with contextlib.suppress(Exception):
        import cloudpickle  # type: ignore[import-untyped,unused-ignore]

        return bytes(cloudpickle.dumps(error, 5))
    return b""


def main(
    address: str,
    ready: Connection,
    claimed: Any,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Serves its parent until that says STOP or is gone."""
    threading.Thread(target=_end_with_parent, name="pannier-parent", daemon=True).start()
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException:
            logging.getLogger("pannier").critical("Exception in initializer:", exc_info=True)
            return  # of which the parent sees the end
    server = Server(address)
    server._core.method(RUN, _Runner(_core.Claims(claimed)), "run(packet)", "")
    server.method(name=STOP)(server._core.stop)
    server._core.listen(address)
    ready.send(server.address)
    ready.close()
    with contextlib.suppress(KeyboardInterrupt):  # meant for the parent, which decides
        server._serve()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
