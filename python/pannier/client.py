"""The calling side of calls."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from ._closing import Closing
from ._exit import close_at_exit
from ._futures import CallFuture, receiving
from .connection import ConnectionInfo, ConnectionStats, make_options
from .errors import ConnectionLost, DeadlineExceeded, LimitExceeded, Refused, RemoteError
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Client", "MethodInfo", "Stream"]

_UNSET: Any = object()

# How soon an asynchronous call looks again for room that the server's window had not.
_ROOM_SECONDS = 0.002
# Pauses before a call is made again: each twice the one before.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0


class MethodInfo(NamedTuple):
    """A method of a server: ``signature`` as text with the name, ``doc`` its docstring."""

    name: str
    signature: str
    doc: str


class Client(Closing):
    """Calls the methods of a server, in Python or C++.

    ``client.call("blur", image, 2.0)`` and ``client.blur(image, 2.0)`` are the same, but for
    methods whose names Client has itself. A server in C++ takes positional arguments only.

    `timeout` is that of calls which state none, in seconds; None waits for ever. `connect_timeout`
    is that of connecting: the server may start later. `reconnect`: when the connection was lost, a
    later call connects again, and takes at most so many seconds about it. The other arguments are
    as for ``connect``.

    Thread-safe; any number of calls may be in flight, and are answered in any order. When the
    connection ends, all calls in flight fail with ConnectionLost at once. Nothing is called twice
    but with ``retries=``. docs/calls.md says what becomes of a call whatever happens.
    """

    __slots__ = ("__weakref__", "_address", "_allowed", "_core", "_load", "_readers", "_reconnect", "_timeout", "_watched")

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None = None,
        connect_timeout: float = 10.0,
        reconnect: float = 0.0,
        readonly: bool = False,
        allow: Allow = (),
        pool: Pool | None = None,
        link: bool = True,
        inline_threshold: int | None = None,
        max_message_bytes: int | None = None,
    ) -> None:
        options = make_options(pool, readonly, link, inline_threshold, max_message_bytes)
        self._allowed = names_of(allow)
        self._core = _core.Client.connect(address, options, connect_timeout, reconnect)
        self._address = address
        self._timeout = timeout
        self._reconnect = reconnect > 0
        info = self.info
        self._load = loads_for(info.same_user, info.peer, self._allowed)
        self._watched = False
        self._readers: dict[asyncio.AbstractEventLoop, _Reader] = {}
        close_at_exit(self)

    def call(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float | None = _UNSET,
        retries: int = 0,
        **kwargs: Any,
    ) -> Any:
        """The result of `method` on the far side.

        `timeout` seconds (None: for ever) bound the whole call; the server is told. Raises what the
        handler raised, with the far side's traceback as its cause, if this side may unpickle it,
        else RemoteError; UnknownMethod; DeadlineExceeded; ConnectionLost; LimitExceeded and Refused
        (the server did not run it); PoolExhausted; Closed. `retries`: how often it may be made
        again after ConnectionLost, when it may have run, and where the server did not run it.
        """
        buffers: list[pickle.PickleBuffer] = []
        request = (args, kwargs) if kwargs else args
        stream = pickle.dumps(request, 5, buffer_callback=buffers.append)
        if timeout is _UNSET:
            timeout = self._timeout
        try:
            reply, parts = self._core.call(method, stream, buffers, bool(kwargs), timeout, retries)
        except RemoteError as error:
            raise self._raised_there(error) from error.__cause__
        try:
            return self._loads(reply, parts)
        finally:
            del reply, parts  # an exception's traceback keeps this frame

    def submit(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float | None = _UNSET,
        retries: int = 0,
        **kwargs: Any,
    ) -> Future[Any]:
        """Starts a call and returns its future, which fails with what ``call`` raises.

        Raises what keeps the call from being sent. If the server has no room for it, waits until
        there is some. ``cancel`` works until the result is there, and is told to the server.
        """
        stream, buffers = _request(args, kwargs)
        if timeout is _UNSET:
            timeout = self._timeout
        future: CallFuture = (
            _RetriedFuture(self, (method, stream, buffers, bool(kwargs)), timeout, retries)
            if retries > 0
            else CallFuture()
        )
        self._begin(future, method, stream, buffers, bool(kwargs), timeout)
        return future

    def _begin(
        self,
        future: CallFuture,
        method: str,
        stream: bytes,
        buffers: list[pickle.PickleBuffer],
        keywords: bool,
        timeout: float | None,
    ) -> None:
        pending = self._core.start(method, stream, buffers, keywords, timeout, True)
        assert pending is not None
        thread = receiving()
        if not self._watched:
            self._watched = True
            thread.add(self._core)
        future._begin(pending, self)
        thread.kick(False)

    def _take(self, stream: Any, buffers: Any) -> Any:
        try:
            return self._loads(stream, buffers)
        finally:
            del stream, buffers

    async def call_async(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float | None = _UNSET,
        retries: int = 0,
        **kwargs: Any,
    ) -> Any:
        """As ``call``, in asyncio: no thread is started, and the loop goes on meanwhile.

        Cancelling the task cancels the call, and the server is told. Only connecting again
        (`reconnect`) happens on a thread of the loop's executor.
        """
        stream, buffers = _request(args, kwargs)
        if timeout is _UNSET:
            timeout = self._timeout
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            left = None if end is None else end - time.monotonic()
            try:
                return await self._call_async(method, stream, buffers, bool(kwargs), left)
            except (ConnectionLost, LimitExceeded, Refused):
                if retries <= 0 or (end is not None and time.monotonic() + pause > end):
                    raise
            retries -= 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _call_async(
        self, method: str, stream: bytes, buffers: Any, keywords: bool, timeout: float | None
    ) -> Any:
        core = self._core
        reader = self._reader()
        with reader:
            pending = await self._when_room(
                lambda left: core.start(method, stream, buffers, keywords, left, False), timeout
            )
            reader.watch()
            done = reader.loop.create_future()
            pending.on_done(partial(_wake, reader.loop, threading.get_ident(), done))
            timer = reader.loop.call_later(timeout + 0.001, core.dispatch) if timeout is not None else None
            try:
                await done
                stream, buffers = pending.take()
            except RemoteError as error:
                raise self._raised_there(error) from error.__cause__
            except asyncio.CancelledError:
                pending.cancel()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        try:
            return self._loads(stream, buffers)
        finally:
            del stream, buffers

    async def _when_room(self, start: Callable[[float | None], Any], timeout: float | None) -> Any:
        """What `start`, given the time left, returns when there is room for the call."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else end - time.monotonic()
            if self._reconnect and not self._core.alive:
                pending = await asyncio.to_thread(start, left)
            else:
                pending = start(left)
            if pending is not None:
                return pending
            if left is not None and left <= 0:
                raise DeadlineExceeded("the server had no room for the call in time")
            await asyncio.sleep(_ROOM_SECONDS)

    def stream(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float | None = _UNSET,
        credit: int = 16,
        **kwargs: Any,
    ) -> Stream:
        """The items that a generator on the far side yields, one by one, as they are taken.

        The far side is at most `credit` items ahead: a slow reader stops the generator, not the
        server. Closing the stream, or dropping it, closes the generator. `timeout` bounds the whole
        of it. For ``for`` and ``async for``.
        """
        if credit < 1:
            raise ValueError(f"credit must be at least 1: {credit}")
        stream, buffers = _request(args, kwargs)
        if timeout is _UNSET:
            timeout = self._timeout
        return Stream(self, (method, stream, buffers, bool(kwargs)), timeout, credit)

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Calls `method` and does not ask for an answer: whether it ran, or failed, nobody tells.
        Raises what keeps the call from being sent."""
        stream, buffers = _request(args, kwargs)
        self._core.notify(method, stream, buffers, bool(kwargs), self._timeout)

    def methods(self, *, timeout: float | None = _UNSET) -> list[MethodInfo]:
        """What the server's methods are."""
        return [MethodInfo(*each) for each in self.call("pannier.methods", timeout=timeout)]

    def _loads(self, stream: Any, buffers: Any) -> Any:
        try:
            return self._load(stream, buffers)
        finally:
            del stream, buffers  # an exception's traceback keeps this frame

    def _raised_there(self, error: RemoteError) -> BaseException:
        pickled: bytes = getattr(error, "pickled", b"")
        if pickled:
            try:
                raised = self._load(pickled, ())
            except Exception:
                return error
            if isinstance(raised, BaseException):
                return raised
        return error

    def _reader(self) -> _Reader:
        loop = asyncio.get_running_loop()
        reader = self._readers.get(loop)
        if reader is None:
            reader = self._readers[loop] = _Reader(self, loop)
        return reader

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    @property
    def info(self) -> ConnectionInfo:
        """Of the present connection, or the last one."""
        return ConnectionInfo(**self._core.info())

    def stats(self) -> ConnectionStats:
        return ConnectionStats(**self._core.stats())

    @property
    def in_flight(self) -> int:
        """Calls that were sent and are not answered."""
        return self._core.in_flight

    def close(self) -> None:
        """Ends the connection; calls under way fail with Closed. Any thread; idempotent."""
        self._core.close()

    def __repr__(self) -> str:
        state = "link" if self.info.link else "no link"
        if not self._core.alive:
            state = "ended"
        return f"<pannier.Client of {self._address}, {state}>"


class Stream(Iterator[Any], AsyncIterator[Any]):
    """The items of a call, for ``for`` or ``async for``. The call is made with the first item that
    is asked for. ``value`` is what the generator returned, once it has ended."""

    def __init__(
        self, client: Client, request: tuple[str, bytes, Any, bool], timeout: float | None, credit: int
    ) -> None:
        self._client = client
        self._request: tuple[str, bytes, Any, bool] | None = request
        self._timeout = timeout
        self._credit = credit
        self._pending: _core.PendingStream | None = None
        self._reader: _Reader | None = None
        self._event: asyncio.Event | None = None
        self.value: Any = None

    def _start(self, timeout: float | None, wait: bool) -> _core.PendingStream | None:
        if self._request is None:
            raise StopIteration
        return self._client._core.start_stream(*self._request, timeout, self._credit, wait)

    def __next__(self) -> Any:
        if self._pending is None:
            self._pending = self._start(self._timeout, True)
            self._request = None
        assert self._pending is not None
        try:
            part = self._pending.next(None)
        except RemoteError as error:
            raise self._client._raised_there(error) from error.__cause__
        if part is None:
            self._end()
            raise StopIteration(self.value)
        return self._client._take(*part)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        client = self._client
        if self._pending is None:
            if self._request is None:
                raise StopAsyncIteration
            self._reader = client._reader()
            self._reader.__enter__()
            try:
                self._pending = await client._when_room(
                    lambda left: self._start(left, False), self._timeout
                )
            except BaseException:
                self._detach()
                raise
            self._request = None
            self._event = asyncio.Event()
            self._reader.watch()
            loop, event = self._reader.loop, self._event
            self._pending.on_change(lambda: _call_in(loop, event.set))
            if self._timeout is not None:
                loop.call_later(self._timeout + 0.001, client._core.dispatch)
        assert self._pending is not None
        while True:
            event = self._event
            if event is not None:
                event.clear()
            try:
                part = self._pending.try_next()
            except RemoteError as error:
                self._detach()
                raise client._raised_there(error) from error.__cause__
            except BaseException:
                self._detach()
                raise
            if part is None:
                self._end()
                raise StopAsyncIteration
            if part is not False:
                return client._take(*part)
            assert event is not None
            try:
                await event.wait()
            except asyncio.CancelledError:
                self.close()
                raise

    def _end(self) -> None:
        """All items were taken."""
        pending = self._pending
        self._detach()
        if pending is not None and self.value is None:
            with contextlib.suppress(ValueError):  # taken before
                self.value = self._client._take(*pending.result())

    def _detach(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.__exit__(None, None, None)

    def close(self) -> None:
        """Ends the generator on the far side, if it has not ended. Idempotent."""
        self._request = None
        if self._pending is not None:
            self._pending.cancel()
        self._detach()

    async def aclose(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


class _Reader:
    """One event loop that reads replies from a client's connection while it waits for some."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._client = client
        self._fd: int | None = None
        self._count = 0

    def watch(self) -> None:
        """Reads the connection as it is now: it may be another one since the last call."""
        try:
            fd = self._client._core.fileno()
        except (ConnectionLost, OSError):  # it has ended, and its calls know
            return
        if fd != self._fd:
            self._unwatch()
            self._fd = fd
            self.loop.add_reader(fd, self._client._core.dispatch)

    def _unwatch(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError, ValueError):
                self.loop.remove_reader(self._fd)
            self._fd = None

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *exc: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._unwatch()
            self._client._readers.pop(self.loop, None)


def _request(args: Any, kwargs: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    buffers: list[pickle.PickleBuffer] = []
    request = (args, kwargs) if kwargs else args
    return pickle.dumps(request, 5, buffer_callback=buffers.append), buffers


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(function)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake(loop: asyncio.AbstractEventLoop, thread: int, future: asyncio.Future[None]) -> None:
    """On the thread that received the reply."""
    if threading.get_ident() == thread:
        _finish(future)
    else:
        _call_in(loop, partial(_finish, future))


class _RetriedFuture(CallFuture):
    """The future of a call that may be made again."""

    def __init__(
        self, client: Client, request: tuple[str, bytes, Any, bool], timeout: float | None, retries: int
    ) -> None:
        super().__init__()
        self._client = client
        self._request = request
        self._until = None if timeout is None else time.monotonic() + timeout
        self._retries = retries
        self._pause = _FIRST_PAUSE

    def _fail(self, error: BaseException) -> None:
        again = isinstance(error, ConnectionLost | LimitExceeded | Refused) and self._retries > 0
        if again and (self._until is None or time.monotonic() + self._pause < self._until):
            self._retries -= 1
            # Not on this thread: it may have to connect again, and others wait for it.
            threading.Thread(target=self._again, name="pannier-retry", daemon=True).start()
        else:
            super()._fail(error)

    def _again(self) -> None:
        time.sleep(self._pause * random.uniform(0.8, 1.2))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if self.cancelled():
            return
        left = None if self._until is None else max(self._until - time.monotonic(), 0.0)
        try:
            self._client._begin(self, *self._request, left)
        except Exception as error:
            self._fail(error)
