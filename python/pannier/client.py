"""The calling side of calls."""

from __future__ import annotations

import asyncio
import functools
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from . import _core
from ._closing import Closing
from ._exit import close_at_exit
from ._futures import FIRST_PAUSE, LONGEST_PAUSE, CallFuture, Retrying, may_retry, receiving
from ._loops import LoopReader, answer
from .connection import Carrier, ConnectionInfo, ConnectionStats, make_options
from .errors import RemoteError
from .pickling import Pickling
from .stream import Stream
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Client", "MethodInfo"]

_UNSET: Any = ...

# A method, its arguments as a pickle, and whether there are keyword arguments: what the compiled
# part takes first.
Request = tuple[str, bytes, list[pickle.PickleBuffer], bool]


class MethodInfo(NamedTuple):
    """A method of a server: ``signature`` as text with the name, ``doc`` its docstring."""

    name: str
    signature: str
    doc: str


class Client(_core._Caller, Closing):  # type: ignore[misc, name-defined]
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

    __slots__ = (
        "__weakref__",
        "_address",
        "_core",
        "_load",
        "_loads_result",
        "_pickle",
        "_readers",
        "_reconnect",
        "_retrying",
        "_timeout",
        "_watched",
    )

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
        carrier: Carrier = "auto",
        spin: float | None = None,
    ) -> None:
        options = make_options(
            pool, readonly, link, inline_threshold, max_message_bytes, carrier=carrier, spin=spin
        )
        allowed = names_of(allow)
        self._core = _core.Client.connect(address, options, connect_timeout, reconnect)
        self._address = address
        self._timeout = timeout
        self._pickle = Pickling(pool)
        self._reconnect = reconnect > 0
        info = self.info
        self._load = loads_for(info.same_user, info.peer, allowed)
        # None: pickle.loads, which the core calls by itself.
        self._loads_result = None if info.same_user else self._load
        super().__init__(self._core, self._pickle, self._loads_result, timeout)
        self._watched = False  # by the thread that receives for futures
        self._readers: dict[asyncio.AbstractEventLoop, LoopReader] = {}
        self._retrying = Retrying(self)
        close_at_exit(self)

    if TYPE_CHECKING:
        # In C, with its docstring: python/src/caller.cc.
        def call(
            self,
            method: str,
            /,
            *args: Any,
            timeout: float | None = _UNSET,
            retries: int = 0,
            **kwargs: Any,
        ) -> Any: ...

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
        request = self._request(method, args, kwargs)
        if timeout is _UNSET:
            timeout = self._timeout
        future = self._retrying.future(request, timeout, retries) if retries > 0 else CallFuture()
        self._begin(future, request, timeout)
        return future

    def _begin(self, future: CallFuture, request: Request, timeout: float | None) -> None:
        pending = self._core.start(*request, timeout, True)
        assert pending is not None
        thread = receiving()
        if not self._watched:
            self._watched = True
            thread.add(self._core)
        future._begin(pending, self)
        thread.kick(False)

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
        request = self._request(method, args, kwargs)
        if timeout is _UNSET:
            timeout = self._timeout
        end = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            left = None if end is None else end - time.monotonic()
            try:
                return (await answer(self, request, left)).load(self._loads_result)
            except RemoteError as error:
                raise self._raised_there(error) from error.__cause__
            except Exception as error:
                late = end is not None and time.monotonic() + pause > end
                if retries <= 0 or late or not may_retry(error):
                    raise
            retries -= 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

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
        if timeout is _UNSET:
            timeout = self._timeout
        return Stream(self, self._request(method, args, kwargs), timeout, credit)

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Calls `method` and does not ask for an answer: whether it ran, or failed, nobody tells.
        Raises what keeps the call from being sent."""
        self._core.notify(*self._request(method, args, kwargs), self._timeout)

    def methods(self, *, timeout: float | None = _UNSET) -> list[MethodInfo]:
        """What the server's methods are."""
        return [MethodInfo(*each) for each in self.call("pannier.methods", timeout=timeout)]

    def _request(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        stream, buffers = self._pickle((args, kwargs) if kwargs else args)
        return method, stream, buffers, bool(kwargs)

    def _loads(self, stream: Any, buffers: Any) -> Any:
        try:
            return self._load(stream, buffers)
        finally:
            del stream, buffers  # an exception's traceback keeps this frame

    def _raise_there(self, error: RemoteError) -> NoReturn:
        raise self._raised_there(error) from error.__cause__

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

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return functools.partial(self.call, name)

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
