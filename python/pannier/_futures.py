"""Futures of calls, and the thread that receives replies when nobody waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import RemoteError

if TYPE_CHECKING:
    from .client import Client

__all__ = ["CallFuture", "Receiving", "receiving"]


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
    return _receiving


def stop_receiving() -> None:
    """For the end of the interpreter."""
    global _receiving
    if _receiving is not None:
        _receiving.stop()
        _receiving = None


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


class CallFuture(Future[Any]):
    """The future of a call that is in flight.

    ``cancel`` succeeds until the result is there: it tells the server, which stops the handler if
    it can. Waiting for the future receives replies on the thread that waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiters = _Waiters()
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
            value = client._take(*pending.take())
        except RemoteError as error:
            raised = client._raised_there(error)
            raised.__cause__ = error.__cause__
            self._fail(raised)
        except BaseException as error:
            self._fail(error)
        else:
            self._succeed(value)

    def _succeed(self, value: Any) -> None:
        try:
            self.set_result(value)
        except Exception:
            if self._state == FINISHED:
                raise  # else it was cancelled meanwhile

    def _fail(self, error: BaseException) -> None:
        try:
            self.set_exception(error)
        except Exception:
            if self._state == FINISHED:
                raise

    def _receive(self, timeout: float | None) -> float | None:
        """Waits by receiving. The time that is left."""
        pending = self._pending
        if pending is None:
            if self._state != FINISHED:  # its turn has not come: others have to be received for
                receiving().kick(True)
            return timeout
        if timeout is None:
            pending.wait(None)
            return None
        end = time.monotonic() + timeout
        pending.wait(max(timeout, 0.0))
        return max(end - time.monotonic(), 0.0)

    def result(self, timeout: float | None = None) -> Any:
        """As of ``concurrent.futures.Future``."""
        try:
            return super().result(self._receive(timeout))
        finally:
            self = None  # type: ignore[assignment]  # as in the base: breaks a reference cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of ``concurrent.futures.Future``."""
        return super().exception(self._receive(timeout))

    def cancel(self) -> bool:
        """Cancels the call, unless it is done; tells the server."""
        if not super().cancel():
            return False
        pending, self._pending = self._pending, None
        if pending is not None:
            self.set_running_or_notify_cancel()
            pending.cancel()
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """As of ``concurrent.futures.Future``."""
        super().add_done_callback(fn)
        if self._pending is not None:
            receiving().kick(True)
