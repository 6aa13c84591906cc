"""The end of the interpreter.

What is open is closed, so that messages sent just before are delivered, and threads that wait
inside the library return before the interpreter goes: one that came back later would have
nothing to come back to.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.util
import os
import threading
import weakref
from typing import Protocol

from . import _core

# How long threads have to come out of the library.
_PATIENCE_SECONDS = 2.0


class _Closable(Protocol):
    def close(self) -> None: ...


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class _Workers(Protocol):
    def shutdown(self, wait: bool = ..., cancel: bool = ...) -> None: ...


_connections: weakref.WeakSet[_Closable] = weakref.WeakSet()
_listeners: weakref.WeakSet[_Closable] = weakref.WeakSet()
_receivers: weakref.WeakSet[_Stoppable] = weakref.WeakSet()
_workers: weakref.WeakSet[_Workers] = weakref.WeakSet()
_in_multiprocessing = False


def shut_down_at_exit(workers: _Workers) -> None:
    """Finishes what was submitted to `workers` when the interpreter ends, and ends them."""
    _workers.add(workers)
    _close_in_child()


def close_at_exit(thing: _Closable, *, listens: bool = False) -> None:
    """Closes `thing` when the interpreter ends, if it lives until then. What listens is closed
    last: a connection to it in the same process would linger, to tell it goodbye."""
    (_listeners if listens else _connections).add(thing)
    _close_in_child()


def stop_at_exit(receiver: _Stoppable) -> None:
    """Stops what receives for others when the interpreter ends, before these are closed."""
    _receivers.add(receiver)
    _close_in_child()


def _close_in_child() -> None:
    global _in_multiprocessing
    if not _in_multiprocessing and multiprocessing.parent_process() is not None:
        # The start methods fork and forkserver end a child without atexit.
        _in_multiprocessing = True
        multiprocessing.util.Finalize(None, _end_of_child, exitpriority=0)


def _finish_calls() -> None:
    for workers in [*_workers]:
        workers.shutdown(wait=True)


def _close_all() -> None:
    _finish_calls()
    for receiver in [*_receivers]:
        receiver.stop()
    for thing in [*_connections, *_listeners]:
        thing.close()
    _core.shutdown(_PATIENCE_SECONDS)


def _end_of_child() -> None:
    _close_all()
    _core.flush_before_exit()


def _after_fork() -> None:
    # A child owns nothing of its parent's.
    global _in_multiprocessing
    _connections.clear()
    _listeners.clear()
    _receivers.clear()
    _workers.clear()
    _in_multiprocessing = False
    _core.after_fork()


# While threads can still be started, which workers need: where concurrent.futures ends its executors.
# It raises RuntimeError in an interpreter that ends already.
with contextlib.suppress(RuntimeError):
    threading._register_atexit(_finish_calls)  # type: ignore[attr-defined]
atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
