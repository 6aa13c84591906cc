"""How a server calls its methods: functions, generators, async functions, async generators."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import pickle
import threading
import traceback
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from . import _core
from .context import current, handling
from .errors import Cancelled
from .trust import loads_for

if TYPE_CHECKING:
    from .server import Server

    from .trust import Loads

__all__ = ["AsyncThread", "Handler", "describe_failure", "texts_of"]

# Items that a generator gives before other calls get their turn.
_BURST = 32


class Handler:
    """What pannier._core needs for a method: the function, which it calls itself, and what becomes
    of anything but its result."""

    current = current

    def __init__(self, server: Server, function: Callable[..., Any]) -> None:
        # The server owns this, through _core, where no collector sees it.
        self._server = weakref.ref(server)
        self.function = function
        self.pickling = server._pickle

    @property
    def server(self) -> Server:
        server = self._server()
        assert server is not None  # it lives while its calls are handled
        return server

    def loads_for(self, peer: str) -> Loads:
        """What unpickles the arguments of a peer who is not trusted."""
        return loads_for(False, peer, self.server._allowed)

    def answer_later(self, context: _core.CallContext, result: Any) -> None:
        """`result` is what the function returned: items, or something to be awaited; or it was to
        be items."""
        _answer_later(self.server, context, result)

    def failed(self, error: BaseException) -> _core.Failure:
        _stop_for(error, self.server)
        return describe_failure(error)


def _stop_for(error: BaseException, server: Server) -> None:
    """KeyboardInterrupt and SystemExit end the server, which raises them. No others: a handler may
    let an asyncio.CancelledError of its own out."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        server._stopped_by = error
        server._core.stop()


def _answer_later(server: Server, context: _core.CallContext, result: Any) -> None:
    name = context.method
    if isinstance(result, CoroutineType):
        if context.wants_items:
            result.close()
            raise TypeError(f"{name!r} returns one value: use call, not stream")
        context.defer()
        server._async_thread().run(context, _await_one(server, context, result))
    elif isinstance(result, AsyncGeneratorType):
        if not context.wants_items:
            raise TypeError(f"{name!r} is an async generator: use stream, not call")
        context.defer()
        server._async_thread().run(context, _await_items(server, context, result))
    elif not context.wants_items:
        raise TypeError(f"{name!r} is a generator: use stream, not call")
    elif not isinstance(result, Iterator):
        raise TypeError(f"{name!r} returns {type(result).__name__}, no iterator: use call")
    else:
        context.defer()
        _Items(server, context, result)()


class _Items:
    """Gives a generator's items as the caller takes them. Called, by the threads that run
    handlers, whenever there is room for one, or nobody waits any more."""

    def __init__(self, server: Server, context: _core.CallContext, items: Iterator[Any]) -> None:
        self._server = server
        self._context = context
        self._items = items

    def __call__(self) -> None:
        context = self._context
        with handling(context, self._server):
            try:
                for _ in range(_BURST):
                    context.check()
                    if not context.credit:
                        break
                    try:
                        item = next(self._items)
                    except StopIteration as stop:
                        context.finish(self._server._pickle(stop.value))
                        return
                    context.emit(self._server._pickle(item))
                    del item
                context.on_ready(self)
            except BaseException as error:
                with contextlib.suppress(Exception):
                    self._items.close()  # type: ignore[attr-defined]
                _stop_for(error, self._server)
                context.finish(describe_failure(error))


class AsyncThread:
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

    def runs_here(self) -> bool:
        return self._thread is threading.current_thread()

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


async def _await_one(
    server: Server, context: _core.CallContext, result: Coroutine[Any, Any, Any]
) -> None:
    try:
        context.finish(server._pickle(await result))
    except asyncio.CancelledError as error:
        context.finish(describe_failure(Cancelled(str(error))))
        raise
    except BaseException as error:
        context.finish(describe_failure(error))


async def _await_items(
    server: Server, context: _core.CallContext, items: AsyncGenerator[Any, Any]
) -> None:
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
                context.emit(server._pickle(item))
        context.finish(server._pickle(None))
    except asyncio.CancelledError as error:
        context.finish(describe_failure(Cancelled(str(error))))
        raise
    except BaseException as error:
        context.finish(describe_failure(error))


def describe_failure(error: BaseException) -> _core.Failure:
    """What the caller is told of `error`, which travels itself if it is an Exception and can be
    pickled: KeyboardInterrupt and SystemExit are of this side alone."""
    pickled = b""
    if isinstance(error, Exception):
        with contextlib.suppress(Exception):
            pickled = pickle.dumps(error, 5)
    return _core.Failure(*texts_of(error), pickled)


def texts_of(error: BaseException) -> tuple[str, str, str, str]:
    """Module and name of its type, its message, and its traceback."""
    kind = type(error)
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its text cannot be made: {type(broken).__name__})"
    lines = traceback.format_exception(kind, error, error.__traceback__)
    return kind.__module__, kind.__qualname__, message, "".join(lines)
