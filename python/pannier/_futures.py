"""Futures of calls, and the thread that receives replies when nobody waits for them."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, FINISHED
from typing import TYPE_CHECKING, Any

from . import _core
from ._exit import stop_at_exit
from ._lazy_future import LazyFuture
from .errors import ConnectionLost, LimitExceeded, Refused, RemoteError

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "FIRST_PAUSE",
    "LONGEST_PAUSE",
    "CallFuture",
    "ReceivedFuture",
    "Receiving",
    "Retrying",
    "may_retry",
    "receiving",
]

# Pauses before a call is made again: each twice the one before. Seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 1.0


class Receiving:
    """The thread ``pannier-receiver``, started with the first call that returns a future.

    A thread that waits for a future receives by itself, which costs no switch of threads; this
    one sees to the futures that nobody waits for.
    """

    def __init__(self) -> None:
        self._core = _core.Receiver.make()
        self.add = self._core.add
        self.kick = self._core.kick
        self._thread = threading.Thread(
            target=self._core.run, name="pannier-receiver", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._core.stop()
        if self._thread is not threading.current_thread():
            self._thread.join(5)


_receiving: Receiving | None = None
_lock = threading.Lock()


def receiving() -> Receiving:
    """The one of this process."""
    global _receiving
    if _receiving is None:
        with _lock:
            if _receiving is None:
                _receiving = Receiving()
                stop_at_exit(_receiving)
    return _receiving


def _forget() -> None:
    global _receiving, _lock
    _receiving = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


class _Waiters(list[Any]):
    """What ``concurrent.futures.wait`` and ``as_completed`` put themselves into: they wait
    without a word to the future, so the receiver has to begin at once."""

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        receiving().kick(True)


class ReceivedFuture(LazyFuture):
    """A future whose waiters receive by themselves."""

    def _make_waiters(self) -> list[Any]:
        return _Waiters()

    def _receive(self, timeout: float | None) -> float | None:
        """Waits by receiving, as long as that makes sense. The time that is left."""
        raise NotImplementedError

    def _succeed(self, value: Any) -> None:
        try:
            self.set_result(value)
        except Exception:
            if self._state == FINISHED:
                raise
            self._notify_cancel()  # it was cancelled meanwhile

    def _fail(self, error: BaseException) -> None:
        try:
            self.set_exception(error)
        except Exception:
            if self._state == FINISHED:
                raise
            self._notify_cancel()

    def _notify_cancel(self) -> None:
        """Tells who is in ``concurrent.futures.wait`` that it was cancelled, if nobody has. Whoever
        finds that it was, calls this: one that nobody tells of is never done for them."""
        with self._condition:
            if self._state == CANCELLED:
                self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Any:
        """As of ``concurrent.futures.Future``."""
        try:
            if self._state != FINISHED:
                timeout = self._receive(timeout)
            return super().result(timeout)
        finally:
            self = None  # type: ignore[assignment]  # as in the base: breaks a reference cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of ``concurrent.futures.Future``."""
        if self._state != FINISHED:
            timeout = self._receive(timeout)
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """As of ``concurrent.futures.Future``."""
        super().add_done_callback(fn)
        if not self.done():
            receiving().kick(True)


class CallFuture(ReceivedFuture):
    """The future of a call that is in flight.

    ``cancel`` succeeds until the result is there: it tells the server, which stops the handler if
    it can.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: _core.PendingCall | None = None
        self._client: Client | None = None

    def _begin(self, pending: _core.PendingCall, client: Client) -> None:
        """The call was sent. From now on it may be done at any time."""
        self._client = client
        self._pending = pending
        pending.on_done(self._on_done)

    def _on_done(self) -> None:
        """On the thread that received the reply."""
        pending, client = self._pending, self._client
        if pending is None or client is None:
            return  # cancelled
        self._pending = None
        try:
            value = pending.load(client._loads_result)
        except RemoteError as error:
            raised = client._raised_there(error)
            raised.__cause__ = error.__cause__
            self._fail(raised)
        except BaseException as error:
            self._fail(error)
        else:
            self._succeed(value)

    def _receive(self, timeout: float | None) -> float | None:
        pending = self._pending
        if pending is None:
            return timeout
        if timeout is None:
            pending.wait(None)
            return None
        end = time.monotonic() + timeout
        pending.wait(max(timeout, 0.0))
        return max(end - time.monotonic(), 0.0)

    def cancel(self) -> bool:
        """Cancels the call, unless it is done; tells the server."""
        if not super().cancel():
            return False
        pending, self._pending = self._pending, None
        if pending is not None:
            self._notify_cancel()
            pending.cancel()
        return True


def may_retry(error: BaseException) -> bool:
    """True if the call did not run, or its caller may have said that it may run twice."""
    return isinstance(error, ConnectionLost | LimitExceeded | Refused)


class Retrying:
    """Makes a client's calls again that failed and may be, on a thread that lives while there are
    some: connecting again takes time, and who receives must not wait."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, _RetriedFuture]] = []  # a heap; guarded by _lock
        self._running = False  # guarded by _lock
        self._numbers = itertools.count()

    def future(self, request: Any, timeout: float | None, retries: int) -> CallFuture:
        return _RetriedFuture(self, request, timeout, retries)

    def later(self, future: _RetriedFuture, pause: float) -> None:
        """Makes the call again after `pause` seconds. Any thread."""
        with self._lock:
            heapq.heappush(self._due, (time.monotonic() + pause, next(self._numbers), future))
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="pannier-retry", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._due:
                    self._running = False
                    return
                due, _, future = heapq.heappop(self._due)
            time.sleep(max(due - time.monotonic(), 0.0))
            future._again(self._client())
            del future


class _RetriedFuture(CallFuture):
    """The future of a call that may be made again."""

    def __init__(
        self, retrying: Retrying, request: Any, timeout: float | None, retries: int
    ) -> None:
        super().__init__()
        self._retrying = retrying
        self._request = request
        self._end = None if timeout is None else time.monotonic() + timeout
        self._retries = retries
        self._pause = FIRST_PAUSE

    def _fail(self, error: BaseException) -> None:
        late = self._end is not None and time.monotonic() + self._pause > self._end
        if self._retries <= 0 or late or not may_retry(error):
            super()._fail(error)
            return
        self._retries -= 1
        self._retrying.later(self, self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _again(self, client: Client | None) -> None:
        if self.cancelled():
            self._notify_cancel()
        elif client is None:
            super()._fail(ConnectionLost("the client is gone; the call was not made again"))
        else:
            left = None if self._end is None else max(self._end - time.monotonic(), 0.0)
            try:
                client._begin(self, self._request, left)
            except Exception as error:
                self._fail(error)
