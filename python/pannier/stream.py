"""Calls that are answered with a sequence of values."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from . import _core
from ._closing import Closing
from ._loops import LoopReader, when_room
from .errors import RemoteError

if TYPE_CHECKING:
    from typing_extensions import Self

    from .client import Client

__all__ = ["Stream"]


class Stream(Closing, Iterator[Any], AsyncIterator[Any]):
    """The items of a call, for ``for`` or ``async for``, and not for both.

    The call is made when the first item is asked for. ``value`` is what the generator returned,
    once it has ended. Leaving a ``with`` block, ``close``, and dropping the stream close the
    generator on the far side.
    """

    def __init__(self, client: Client, request: Any, timeout: float | None, credit: int) -> None:
        self._client = client
        self._request = request  # None once the call was made, or is not to be made any more
        self._timeout = timeout
        self._credit = credit
        self._pending: _core.PendingStream | None = None  # while there may be items
        self._reader: LoopReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.value: Any = None

    def _start(self, timeout: float | None, wait: bool) -> _core.PendingStream | None:
        method, stream, buffers, keywords = self._request
        return self._client._core.start_stream(
            method, stream, buffers, keywords, timeout, self._credit, wait
        )

    def __next__(self) -> Any:
        if self._request is not None:
            self._pending = self._start(self._timeout, True)
            self._request = None
        if self._pending is None:
            raise StopIteration
        try:
            part = self._pending.next(None)
        except RemoteError as error:
            raise self._raised_there(error) from error.__cause__
        if part is None:
            self._end(self._pending)
            raise StopIteration(self.value)
        return self._client._loads(*part)

    async def __anext__(self) -> Any:
        if self._request is not None:
            await self._start_on_loop()
        while self._pending is not None:
            self._changed.clear()
            try:
                part = self._pending.try_next()
            except RemoteError as error:
                self._detach()
                raise self._raised_there(error) from error.__cause__
            except BaseException:
                self._detach()
                raise
            if part is None:
                self._end(self._pending)
            elif part is not False:
                return self._client._loads(*part)
            else:
                try:
                    await self._changed.wait()
                except asyncio.CancelledError:
                    self.close()
                    raise
        raise StopAsyncIteration

    async def _start_on_loop(self) -> None:
        reader = self._reader = LoopReader.of(self._client)
        end = None if self._timeout is None else time.monotonic() + self._timeout
        reader.__enter__()
        try:
            pending = await when_room(
                self._client, lambda left: self._start(left, False), self._timeout
            )
        except BaseException:
            self._detach()
            raise
        self._pending = pending
        self._request = None
        reader.watch()
        self._timer = reader.timer(end)
        changed = self._changed
        pending.on_change(lambda: reader.soon(changed.set))

    def _raised_there(self, error: RemoteError) -> BaseException:
        raised = self._client._raised_there(error)
        # Here these would say that there are no more items.
        return error if isinstance(raised, StopIteration | StopAsyncIteration) else raised

    def _end(self, pending: _core.PendingStream) -> None:
        """All items were taken."""
        self._detach()
        self._pending = None
        self.value = self._client._loads(*pending.result())

    def _detach(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.__exit__()

    def close(self) -> None:
        """Ends the generator on the far side, if it has not ended. Idempotent."""
        self._request = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        self._detach()

    async def aclose(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
