"""What a worker process of an Executor runs."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._cloudpickling import dumps_anything, dumps_error
from ._handlers import describe_failure, texts_of
from ._packets import NUMBER, Entry, Raised, pack, unpack
from .context import current
from .server import Server
from .trust import loads_everything, loads_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .trust import Loads

__all__ = ["RUN", "RUN_PACKET", "STOP", "main"]

# The methods of a worker: make a lone call; those of a packet; end.
RUN = "pannier.run"
RUN_PACKET = "pannier.run_packet"
STOP = "pannier.stop"

# Answers do not wait longer than this for others of their packet.
_PATIENCE_SECONDS = 0.002

_TAKEN_BACK: tuple[bytes, tuple[()]] = (b"", ())  # which nobody looks at


class _Runner:
    """The methods RUN and RUN_PACKET; these run on the thread that serves, one at a time."""

    def __init__(self, claims: _core.Claims) -> None:
        self._claims = claims
        self._lock = threading.Lock()
        # Guarded by _lock: answers of the packet that runs, and of which of its calls the first is.
        self._answers: list[Entry] = []
        self._first = 0
        self._context: _core.CallContext | None = None
        self._running = threading.Event()  # a packet
        threading.Thread(target=self._flush_late, name="pannier-answers", daemon=True).start()

    def run(
        self, stream: Any, buffers: Any, keywords: bool, context: _core.CallContext
    ) -> tuple[Any, Any] | _core.Failure:
        handled = current.set(context)
        try:
            (number,) = NUMBER.unpack_from(stream, -NUMBER.size)
            if not self._claims.begin(number):
                return _TAKEN_BACK
            return _run(_loads_for(context), stream, buffers)
        except BaseException as error:
            return describe_failure(error)
        finally:
            self._claims.end()
            current.reset(handled)

    def run_packet(
        self, stream: Any, buffers: Any, keywords: bool, context: _core.CallContext
    ) -> tuple[Any, Any] | _core.Failure:
        """Answers with packets, whose number says of which call of this one the first answer is."""
        handled = current.set(context)
        try:
            number, calls = unpack(stream, buffers)
            del stream, buffers  # what a call does not keep goes home when it returns
            with self._lock:
                self._first = 0
                self._context = context
            self._running.set()
            try:
                self._run_all(_loads_for(context), number, calls)
            finally:
                with self._lock:
                    self._context = None
                    self._running.clear()
                    rest = self._take()
            return rest
        except BaseException as error:
            return describe_failure(error)
        finally:
            current.reset(handled)

    def _run_all(self, load: Loads, number: int, calls: list[Entry]) -> None:
        calls.reverse()
        while calls and self._claims.begin(number):
            answer = _run(load, *calls.pop())
            self._claims.end()
            with self._lock:
                self._answers.append(answer)
            del answer
            number = (number + 1) & 0xFFFFFFFF

    def _take(self) -> tuple[bytes, list[Any]]:
        """The answers since the last time, as a packet. With the lock."""
        answers, self._answers = self._answers, []
        first = self._first
        self._first += len(answers)
        return pack(first, answers)

    def _flush_late(self) -> None:
        """Sends answers that would wait for a long call of their packet."""
        while True:
            self._running.wait()
            time.sleep(_PATIENCE_SECONDS)
            with self._lock, contextlib.suppress(Exception):  # the end, which _Runner finds out
                if self._answers and self._context is not None:
                    self._context.emit(self._take())


def _loads_for(context: _core.CallContext) -> Loads:
    """What unpickles the calls of this peer."""
    return loads_everything if context.same_user else loads_for(False, context.peer, {})


def _run(load: Loads, stream: Any, buffers: Any) -> Entry:
    """Makes a call. Does not raise."""
    try:
        function, args, kwargs = load(stream, buffers)
        del stream, buffers
        result = function(*args, **kwargs)
        del function, args, kwargs
        return dumps_anything(result)
    except BaseException as error:
        return dumps_anything(Raised(*texts_of(error), dumps_error(error)))


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
    runner = _Runner(_core.Claims(claimed))
    server._core.method(RUN, runner.run, "run(call)", "")
    server._core.method(RUN_PACKET, runner.run_packet, "run_packet(packet)", "")
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
