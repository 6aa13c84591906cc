"""Event loops that read replies from a client's connection, in place of a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from . import _core
from .errors import ConnectionLost, DeadlineExceeded

if TYPE_CHECKING:
    from .client import Client, Request

__all__ = ["LoopReader", "when_room"]

T = TypeVar("T")

# How soon an asynchronous call looks again for room that the server's window had not.
_ROOM_SECONDS = 0.002
# A timer that completes calls whose time is over comes so much after them.
_LATE_SECONDS = 0.001


class LoopReader:
    """One event loop that waits for replies on one client; with ``with``, as long as it does."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._thread = threading.get_ident()
        self._fd: int | None = None
        self._count = 0

    @staticmethod
    def of(client: Client) -> LoopReader:
        """The reader of the loop that runs here."""
        loop = asyncio.get_running_loop()
        reader = client._readers.get(loop)
        if reader is None:
            reader = client._readers[loop] = LoopReader(client, loop)
        return reader

    def watch(self) -> None:
        """Reads the connection as it is now: it may be another one since the last call."""
        try:
            fd = self._client._core.fileno()
        except (ConnectionLost, OSError):  # it has ended, and its calls know
            return
        if fd != self._fd:
            self._unwatch()
            self._fd = fd
            self._loop.add_reader(fd, self._client._core.dispatch)

    def _unwatch(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(self._fd)
            self._fd = None

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *exception: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._unwatch()
            self._client._readers.pop(self._loop, None)

    def timer(self, end: float | None) -> asyncio.TimerHandle | None:
        """Completes calls whose time is over, when it is `end` by ``time.monotonic``."""
        if end is None:
            return None
        left = max(end - time.monotonic(), 0.0)
        return self._loop.call_later(left + _LATE_SECONDS, self._client._core.dispatch)

    def soon(self, function: Callable[[], object]) -> None:
        """Calls `function` on the loop's thread: at once, if that is this one. Any thread."""
        if threading.get_ident() == self._thread:
            function()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(function)


async def when_room(
    client: Client, start: Callable[[float | None], T | None], timeout: float | None
) -> T:
    """What `start`, given the time that is left, returns when there is room for the call."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if end is None else end - time.monotonic()
        if client._reconnect and not client._core.alive:  # which may take long
            pending = await asyncio.to_thread(start, left)
        else:
            pending = start(left)
        if pending is not None:
            return pending
        if left is not None and left <= 0:
            raise DeadlineExceeded("the server had no room for the call in time")
        await asyncio.sleep(_ROOM_SECONDS)


async def answer(client: Client, request: Request, timeout: float | None) -> _core.PendingCall:
    """The call, once it is done."""
    reader = LoopReader.of(client)
    end = None if timeout is None else time.monotonic() + timeout
    with reader:
        pending = await when_room(
            client, lambda left: client._core.start(*request, timeout=left, wait=False), timeout
        )
        reader.watch()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        pending.on_done(lambda: reader.soon(finish))
        timer = reader.timer(end)
        try:
            await done
            return pending
        except asyncio.CancelledError:
            pending.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()
