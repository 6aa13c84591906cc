"""A future that makes its lock and its lists when somebody needs them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any

from . import _core

__all__ = ["LazyFuture"]

_LATE = ("_condition", "_waiters", "_done_callbacks")


class LazyFuture(Future[Any]):
    """A ``concurrent.futures.Future`` that costs little where nobody looks at it before it is done.

    What Future does under its condition, a future that was never `_watched` does in one step that
    no other thread sees half of (``_core.set_unless``). It is watched from the first time that
    anybody asks for the condition, and then all is done as Future does it. So of two threads, of
    which one ends the future and one begins to watch it, either the first finds that it is watched,
    or the second that it has ended.
    """

    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _watched = False

    def __init__(self) -> None:
        # Not that of Future, which makes what is made below.
        pass

    def __getattr__(self, name: str) -> Any:
        """Of what is not there yet."""
        if name not in _LATE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._watched = True
        there = self.__dict__
        # Of two threads that come here at once, one makes it for both.
        there.setdefault("_waiters", self._make_waiters())
        there.setdefault("_done_callbacks", [])
        there.setdefault("_condition", threading.Condition())
        return there[name]

    def _make_waiters(self) -> list[Any]:
        """What ``concurrent.futures.wait`` and ``as_completed`` put themselves into."""
        return []

    def cancelled(self) -> bool:
        """As of ``concurrent.futures.Future``."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """As of ``concurrent.futures.Future``."""
        return self._state == RUNNING

    def done(self) -> bool:
        """As of ``concurrent.futures.Future``."""
        return self._state in (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)

    def result(self, timeout: float | None = None) -> Any:
        """As of ``concurrent.futures.Future``."""
        try:
            if self._state == FINISHED and self._exception is None:
                return self._result
            return super().result(timeout)
        finally:
            self = None  # type: ignore[assignment]  # as in the base: breaks a reference cycle

    def set_running_or_notify_cancel(self) -> bool:
        """As of ``concurrent.futures.Future``."""
        # Not watched, it was not cancelled.
        if self._state == PENDING and _core.set_unless(self, "_watched", "_state", RUNNING):
            return True
        return super().set_running_or_notify_cancel()

    def set_result(self, result: Any) -> None:
        """As of ``concurrent.futures.Future``."""
        if self._state in (PENDING, RUNNING) and not self._watched:
            self._result = result
            if _core.set_unless(self, "_watched", "_state", FINISHED):
                return
            self._result = None
        super().set_result(result)
