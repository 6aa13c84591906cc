"""Calls of an Executor, as futures."""

from __future__ import annotations

import time
from concurrent.futures._base import FINISHED, PENDING, RUNNING
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from ._futures import ReceivedFuture, receiving
from ._packets import Raised, is_large
from .errors import ConnectionLost, RemoteError, from_failure

if TYPE_CHECKING:
    from ._dispatch import Dispatch
    from ._sent import Sent
    from .client import Client

__all__ = ["Task", "WorkerDied"]

# A thread that waits for a future receives by itself for so long; then it leaves that to the
# receiver's, as the call may be taken back and given to another worker.
_RECEIVE_SECONDS = 0.05


class WorkerDied(ConnectionLost, BrokenProcessPool):
    """A worker process ended while a call was with it, or before its turn came."""


class Task(ReceivedFuture):
    """A call of an executor. As a Future it runs from when it was sent to a worker."""

    def __init__(self, dispatch: Dispatch, method: str, stream: bytes, buffers: Any, keywords: bool) -> None:
        super().__init__()
        self.dispatch = dispatch
        self.method = method
        self.stream = stream
        self.buffers = buffers
        self.keywords = keywords
        self.large = is_large(stream, buffers)
        self.tries = 0  # how often it may have been begun
        self.sent: Sent | None = None  # the last; constant while it is with a worker

    def runs(self) -> bool:
        """To be sent now? False once it was cancelled."""
        return self._state == RUNNING or self.set_running_or_notify_cancel()

    def finish(self, client: Client, stream: Any, buffers: Any) -> None:
        """With its answer. Any thread, without locks: callbacks are called."""
        self.stream, self.buffers = b"", ()
        try:
            value = client._load(stream, buffers)
            if type(value) is Raised:
                value = _raised_there(client, value)
                failed = True
            else:
                failed = False
        except BaseException as error:
            self._fail(error)
            return
        finally:
            del stream, buffers  # an exception's traceback keeps this frame
        if failed:
            self._fail(value)
        else:
            self._succeed(value)

    def fail(self, error: BaseException) -> None:
        """Any thread, without locks."""
        self.stream, self.buffers = b"", ()
        self._fail(error)

    def _receive(self, timeout: float | None) -> float | None:
        sent = self.sent
        if sent is None or self._state == PENDING:
            return timeout
        start = time.monotonic()
        end = start + (_RECEIVE_SECONDS if timeout is None else min(timeout, _RECEIVE_SECONDS))
        left = end - start
        while not sent.over:
            waited = sent.wait(left)
            # What was received is taken in on the thread that received it, which may be another.
            if self._state == FINISHED:
                break
            if waited:
                self.dispatch.receive(sent)
            left = end - time.monotonic()
            if left <= 0:
                receiving().kick(True)
                break
        return None if timeout is None else max(timeout - (time.monotonic() - start), 0.0)


def _raised_there(client: Client, raised: Raised) -> BaseException:
    text = f"{raised.module}.{raised.qualname}: {raised.message}"
    error = from_failure(RemoteError, text, *raised)
    assert isinstance(error, RemoteError)
    exception = client._raised_there(error)
    exception.__cause__ = error.__cause__
    return exception
