"""The serving side of calls."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _core
from ._exit import close_at_exit
from ._handlers import AsyncThread, Handler
from .connection import Carrier, make_options
from .context import handles
from .pickling import Pickling
from .trust import Allow, names_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._pool import Pool

__all__ = ["Server", "ServerStats"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class ServerStats:
    """Counts since the server was made; the last four are of now.

    ``calls`` were given to a handler, ``refused`` were not (a limit, or stopping), nor were those
    that came too late (``expired``). ``methods``: name to (calls, seconds in the handler).
    """

    calls: int
    failed: int
    refused: int
    expired: int
    cancelled: int
    items: int
    methods: dict[str, tuple[int, float]]
    in_flight: int
    in_flight_bytes: int
    queued: int
    connections: int


class Server:
    """Names functions and answers calls to them.

    A method is a function; a generator, whose items the caller gets one by one as he takes them;
    an async function or async generator, which runs on an event loop of the server's own thread
    for these. Functions and generators run one after another on the thread that serves, or, with
    `threads`, on so many threads.

    What a handler returns travels as an object sent by ``Connection.send`` does: an array of
    ``pannier.empty`` is not copied. What it raises is raised at the caller, with this side's
    traceback as the cause, if the caller may unpickle it, and is a RemoteError there otherwise;
    the server goes on. docs/calls.md says what becomes of a call whatever happens.

    `max_calls` and `max_calls_per_peer` bound the calls that wait or run, `max_call_bytes` their
    arguments: a call past a limit fails with LimitExceeded and is not run. The other arguments are
    as for ``Listener``; nothing is opened before ``start`` or ``serve_forever``.
    """

    def __init__(
        self,
        address: str,
        *,
        threads: int = 0,
        max_calls: int | None = None,
        max_calls_per_peer: int | None = None,
        max_call_bytes: int | None = None,
        insecure: bool = False,
        readonly: bool = False,
        allow: Allow = (),
        pool: Pool | None = None,
        link: bool = True,
        inline_threshold: int | None = None,
        max_message_bytes: int | None = None,
        handshake_timeout: float | None = None,
        carrier: Carrier = "auto",
        spin: float | None = None,
    ) -> None:
        if threads < 0:
            raise ValueError(f"threads must not be negative: {threads}")
        self._address = address
        self._allowed = names_of(allow)
        self._pickle = Pickling(pool)
        self._threads = threads
        self._core = _core.Server(
            make_options(
                pool,
                readonly,
                link,
                inline_threshold,
                max_message_bytes,
                handshake_timeout,
                insecure,
                carrier,
                spin,
            ),
            threads,
            max_calls,
            max_calls_per_peer,
            max_call_bytes,
        )
        self._methods: dict[str, Callable[..., Any]] = {}
        self._thread: threading.Thread | None = None
        self._async: AsyncThread | None = None
        self._lock = threading.Lock()  # guards _async
        self._stopped_by: BaseException | None = None
        self._serving: int | None = None  # the thread
        self._ended = threading.Event()  # of the present serving

    @overload
    def method(self, function: F, /) -> F: ...

    @overload
    def method(self, function: None = None, /, *, name: str) -> Callable[[F], F]: ...

    def method(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """Names a function, as a decorator: ``@server.method``, or ``@server.method(name="blur")``.

        At any time, also while serving; replaces a function of that name. Raises TypeError for
        what cannot be called, ValueError for an empty name.
        """
        if function is None:
            return lambda decorated: self._add(decorated, name)
        return self._add(function, name)

    def _add(self, function: F, name: str | None) -> F:
        if not callable(function):
            raise TypeError(f"a method must be callable, not {function!r}")
        name = function.__name__ if name is None else name
        if not 1 <= len(name.encode()) <= 1024:
            raise ValueError("the name of a method has 1 to 1,024 bytes")
        self._methods[name] = function
        self._core.function(
            name, Handler(self, function), _signature(name, function), inspect.getdoc(function) or ""
        )
        return function

    def serve_forever(self) -> None:
        """Listens and answers calls on this thread until ``stop``, or until a signal handler or a
        handler raises KeyboardInterrupt or SystemExit, which is raised here. Raises OSError
        (errno EADDRINUSE) and ValueError as ``Listener`` does."""
        self._core.listen(self._address)
        self._serve()

    def start(self) -> Self:
        """Listens, and answers calls on a thread of its own until ``stop``. When it returns,
        clients can connect. Errors as for ``serve_forever``."""
        self._core.listen(self._address)
        self._thread = threading.Thread(target=self._serve, name="pannier-server", daemon=True)
        self._thread.start()
        return self

    def stop(self, grace: float | None = 0.0) -> None:
        """Ends serving and waits for the thread of ``start``. All connections are closed.

        At once, as far as handlers go: those that run are waited for, and calls that wait fail
        with ConnectionLost. With `grace` (seconds; None: for ever) calls that came before are
        answered, as far as they end in time, and later ones are refused (Refused).

        Any thread, handlers too, which are not waited for then: it returns at once. More than once
        is no error.
        """
        with self._lock:
            on_loop = self._async is not None and self._async.runs_here()
        if on_loop or handles(self) or self._serving == threading.get_ident():
            self._stop_from_inside(grace)
            return
        thread = self._thread
        if grace is None or grace > 0:
            self._core.drain()
            end = None if grace is None else time.monotonic() + grace
            if thread is not None:
                thread.join(grace)
            elif self._thread is None:
                while self._core.endpoint and (end is None or time.monotonic() < end):
                    time.sleep(0.005)
        self._core.stop()
        if thread is not None:
            thread.join()
            self._thread = None

    def _stop_from_inside(self, grace: float | None) -> None:
        """On a thread for which the end of serving waits: a handler's, or that of a signal's."""
        if grace is not None and grace <= 0:
            self._core.stop()
            return
        self._core.drain()
        if grace is not None:
            ended, core = self._ended, self._core

            def stop_late() -> None:
                if not ended.wait(grace):
                    core.stop()

            threading.Thread(target=stop_late, name="pannier-stop", daemon=True).start()

    def stats(self) -> ServerStats:
        return ServerStats(**self._core.stats())

    @property
    def address(self) -> str:
        """The endpoint: as bound while serving, for ``tcp://HOST:*`` with the port taken."""
        return self._core.endpoint or self._address

    def close(self) -> None:
        """As ``stop``, for the end of the interpreter: waits no longer than that does."""
        self._core.stop()

    def _serve(self) -> None:
        close_at_exit(self, listens=True)
        self._ended = threading.Event()
        self._serving = threading.get_ident()
        threads = [
            threading.Thread(target=self._core.work, name=f"pannier-handler-{number}", daemon=True)
            for number in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        try:
            self._core.serve()
        finally:
            self._serving = None
            self._ended.set()
            with self._lock:
                loop, self._async = self._async, None
            if loop is not None:
                loop.stop()
        if self._stopped_by is not None:
            raise self._stopped_by

    def _async_thread(self) -> AsyncThread:
        with self._lock:
            if self._async is None:
                self._async = AsyncThread()
            return self._async

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        serving = "serving" if self._core.endpoint else "not serving"
        return f"<pannier.Server at {self.address}, {serving}: {', '.join(self._methods)}>"


def _signature(name: str, function: Callable[..., Any]) -> str:
    try:
        return f"{name}{inspect.signature(function)}"
    except (TypeError, ValueError):  # of C, without one
        return f"{name}(...)"
