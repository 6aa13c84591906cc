"""The serving side of calls."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import pickle
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _core
from ._exit import close_at_exit
from .connection import make_options
from .errors import Cancelled
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._pool import Pool

    Answer = tuple[Any, Any] | _core.Failure

__all__ = ["CallContext", "Server", "ServerStats", "current_call"]

F = TypeVar("F", bound=Callable[..., Any])

_LATER = (GeneratorType, CoroutineType, AsyncGeneratorType)
# Items that a generator gives before other calls get their turn.
_BURST = 32

_current: contextvars.ContextVar[_core.CallContext] = contextvars.ContextVar("pannier-call")


class CallContext:
    """A call, for its handler: ``pannier.current_call()`` gives it."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.CallContext) -> None:
        self._core = core

    @property
    def method(self) -> str:
        return self._core.method

    @property
    def peer(self) -> str:
        """Who calls, for messages."""
        return self._core.peer

    @property
    def same_user(self) -> bool:
        """True if the kernel attests that the caller is of the same user."""
        return self._core.same_user

    @property
    def remaining(self) -> float | None:
        """Seconds until the caller gives up; None if he does not."""
        return self._core.remaining

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for the answer: the caller cancelled, is gone, or has given up,
        or the server stops. Cheap enough for an inner loop that takes some microseconds."""
        return self._core.cancelled

    def check(self) -> None:
        """Raises Cancelled, DeadlineExceeded, ConnectionLost or Closed where ``cancelled`` is
        true. So does, once, whatever the handler calls of pannier that may wait."""
        self._core.check()

    def __repr__(self) -> str:
        return f"<pannier.CallContext of {self.method!r}, {self.peer}>"


def current_call() -> CallContext:
    """The call that this thread, or this task, handles. Raises LookupError outside of handlers."""
    return CallContext(_current.get())


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
    ) -> None:
        if threads < 0:
            raise ValueError(f"threads must not be negative: {threads}")
        self._address = address
        self._allowed = names_of(allow)
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
            ),
            threads,
            max_calls,
            max_calls_per_peer,
            max_call_bytes,
        )
        self._methods: dict[str, Callable[..., Any]] = {}
        self._thread: threading.Thread | None = None
        self._async: _AsyncThread | None = None
        self._lock = threading.Lock()  # guards _async
        self._stopped_by: BaseException | None = None

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
        self._core.method(
            name, _Handler(self, function), _signature(name, function), inspect.getdoc(function) or ""
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

        Any thread, handlers too, which are not waited for then; more than once is no error.
        """
        thread = self._thread
        if thread is threading.current_thread():
            thread = None
        if grace is None or grace > 0:
            self._core.drain()
            end = None if grace is None else time.monotonic() + grace
            if thread is not None:
                thread.join(grace)
            elif self._thread is None:
                while self._core.endpoint and (end is None or time.monotonic() < end):
                    time.sleep(0.005)
        self._core.stop()
        if thread is not None and not _is_handling(self):
            thread.join()
            self._thread = None

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
        threads = [
            threading.Thread(target=self._core.work, name=f"pannier-handler-{number}", daemon=True)
            for number in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        try:
            self._core.serve()
        finally:
            with self._lock:
                loop, self._async = self._async, None
            if loop is not None:
                loop.stop()
        if self._stopped_by is not None:
            raise self._stopped_by

    def _async_thread(self) -> _AsyncThread:
        with self._lock:
            if self._async is None:
                self._async = _AsyncThread()
            return self._async

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        serving = "serving" if self._core.endpoint else "not serving"
        return f"<pannier.Server at {self.address}, {serving}: {', '.join(self._methods)}>"


def _is_handling(server: Server) -> bool:
    """True on a thread that runs a handler of this server: it cannot wait for its own end."""
    return getattr(_handling, "server", None) is server


_handling = threading.local()


def _signature(name: str, function: Callable[..., Any]) -> str:
    try:
        return f"{name}{inspect.signature(function)}"
    except (TypeError, ValueError):  # of C, without one
        return f"{name}(...)"


class _Handler:
    """What pannier._core calls for a method. Does not raise."""

    def __init__(self, server: Server, function: Callable[..., Any]) -> None:
        self._server = server
        self._function = function

    def __call__(
        self, stream: Any, buffers: Any, keywords: bool, context: _core.CallContext
    ) -> Answer | None:
        server = self._server
        token = _current.set(context)
        _handling.server = server
        try:
            load = loads_for(context.same_user, context.peer, server._allowed)
            args, kwargs = load(stream, buffers), {}
            del stream, buffers  # what the handler does not keep goes home when it returns
            if keywords:
                args, kwargs = args
            result = self._function(*args, **kwargs)
            del args, kwargs
            if context.wants_items or isinstance(result, _LATER):
                return _answer_later(server, context, result)
            return _answer(result)
        except BaseException as error:
            if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit
                server._stopped_by = error
                server._core.stop()
            return _failure(error)
        finally:
            _handling.server = None
            _current.reset(token)


def _answer_later(server: Server, context: _core.CallContext, result: Any) -> Answer | None:
    name = context.method
    if isinstance(result, CoroutineType):
        if context.wants_items:
            result.close()
            raise TypeError(f"{name!r} returns one value: use call, not stream")
        context.defer()
        server._async_thread().run(context, _await_one(context, result))
    elif isinstance(result, AsyncGeneratorType):
        if not context.wants_items:
            raise TypeError(f"{name!r} is an async generator: use stream, not call")
        context.defer()
        server._async_thread().run(context, _await_items(context, result))
    elif not context.wants_items:
        raise TypeError(f"{name!r} is a generator: use stream, not call")
    elif not isinstance(result, Iterator):
        raise TypeError(f"{name!r} returns {type(result).__name__}, no iterator: use call")
    else:
        context.defer()
        _Items(server, context, result)()
    return None


class _Items:
    """Gives a generator's items as the caller takes them. Called, by the threads that run
    handlers, whenever there is room for one, or nobody waits any more."""

    def __init__(self, server: Server, context: _core.CallContext, items: Iterator[Any]) -> None:
        self._server = server
        self._context = context
        self._items = items

    def __call__(self) -> None:
        context = self._context
        token = _current.set(context)
        _handling.server = self._server
        try:
            for _ in range(_BURST):
                context.check()
                if not context.credit:
                    break
                try:
                    item = next(self._items)
                except StopIteration as stop:
                    context.finish(_answer(stop.value))
                    return
                context.emit(_answer(item))
                del item
            context.on_ready(self)
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._items.close()  # type: ignore[attr-defined]
            if not isinstance(error, Exception):
                self._server._stopped_by = error
                self._server._core.stop()
            context.finish(_failure(error))
        finally:
            _handling.server = None
            _current.reset(token)


class _AsyncThread:
    """The thread of a server's async handlers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="pannier-async", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                self._loop.run_until_complete(asyncio.wait(self._tasks, timeout=5))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def run(self, context: _core.CallContext, answering: Coroutine[Any, Any, None]) -> None:
        """Runs it in a task, which is cancelled when nobody waits for its answer any more."""
        copy = contextvars.copy_context()  # in which current_call() is this one

        def begin() -> None:
            task = copy.run(self._loop.create_task, answering)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if not context.wants_items:  # one that does is told when it emits or waits for room
                context.on_ready(lambda: self._call(task.cancel))

        self._call(begin)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are the connections
            self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        self._call(self._loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join()


async def _await_one(context: _core.CallContext, result: Coroutine[Any, Any, Any]) -> None:
    try:
        context.finish(_answer(await result))
    except asyncio.CancelledError as error:
        context.finish(_failure(Cancelled(str(error))))
        raise
    except BaseException as error:
        context.finish(_failure(error))


async def _await_items(context: _core.CallContext, items: AsyncGenerator[Any, Any]) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with contextlib.aclosing(items):
            while True:
                while not context.credit:
                    room = asyncio.Event()
                    context.on_ready(lambda room=room: loop.call_soon_threadsafe(room.set))  # type: ignore[misc]
                    await room.wait()
                    context.check()
                context.check()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                context.emit(_answer(item))
        context.finish(_answer(None))
    except asyncio.CancelledError as error:
        context.finish(_failure(Cancelled(str(error))))
        raise
    except BaseException as error:
        context.finish(_failure(error))


def _answer(result: Any) -> Answer:
    out: list[pickle.PickleBuffer] = []
    return pickle.dumps(result, 5, buffer_callback=out.append), out


def _failure(error: BaseException, pickled: bytes | None = None) -> _core.Failure:
    kind = type(error)
    if pickled is None:
        pickled = b""
        if isinstance(error, Exception):  # KeyboardInterrupt is of this side alone
            with contextlib.suppress(Exception):
                pickled = pickle.dumps(error, 5)
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its text cannot be made: {type(broken).__name__})"
    lines = traceback.format_exception(kind, error, error.__traceback__)
    return _core.Failure(kind.__module__, kind.__qualname__, message, "".join(lines), pickled)
