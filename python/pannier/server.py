"""The serving side of calls."""

from __future__ import annotations

import contextlib
import pickle
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _core
from ._exit import close_at_exit
from .connection import Carrier, make_options
from .pickling import Pickling
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._pool import Pool

__all__ = ["Server"]

F = TypeVar("F", bound=Callable[..., Any])


class Server:
    """Names functions and answers calls to them.

    Handlers run one after another, on the thread that serves. What a handler returns travels as
    an object sent by ``Connection.send`` does: an array of ``pannier.empty`` is not copied. What
    it raises is raised at the caller, with this side's traceback as the cause, if the caller may
    unpickle it, and is a RemoteError there otherwise; the server goes on.

    Arguments are as for ``Listener``; nothing is opened before ``start`` or ``serve_forever``.
    """

    def __init__(
        self,
        address: str,
        *,
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
        self._address = address
        self._allowed = names_of(allow)
        self._pickle = Pickling(pool)
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
            )
        )
        self._methods: dict[str, Callable[..., Any]] = {}
        self._thread: threading.Thread | None = None
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
        self._core.method(name, _Handler(self, function))
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

    def stop(self) -> None:
        """Ends serving after the handler that runs, and waits for the thread of ``start``. All
        connections are closed. Any thread, handlers too; more than once is no error."""
        self._core.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    @property
    def address(self) -> str:
        """The endpoint: as bound while serving, for ``tcp://HOST:*`` with the port taken."""
        return self._core.endpoint or self._address

    def close(self) -> None:
        """As ``stop``, for the end of the interpreter: waits no longer than that does."""
        self._core.stop()

    def _serve(self) -> None:
        close_at_exit(self, listens=True)
        self._core.serve()
        if self._stopped_by is not None:
            raise self._stopped_by

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        serving = "serving" if self._core.endpoint else "not serving"
        return f"<pannier.Server at {self.address}, {serving}: {', '.join(self._methods)}>"


class _Handler:
    """What pannier._core calls for a method. Does not raise."""

    def __init__(self, server: Server, function: Callable[..., Any]) -> None:
        self._server = server
        self._function = function

    def __call__(self, stream: Any, buffers: Any, keywords: bool, same_user: bool, peer: str) -> Any:
        try:
            load = loads_for(same_user, peer, self._server._allowed)
            args, kwargs = load(stream, buffers), {}
            del stream, buffers  # what the handler does not keep goes home when it returns
            if keywords:
                args, kwargs = args
            result = self._function(*args, **kwargs)
            del args, kwargs
            return self._server._pickle(result)
        except BaseException as error:
            if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit
                self._server._stopped_by = error
                self._server._core.stop()
            return _failure(error)


def _failure(error: BaseException) -> _core.Failure:
    kind = type(error)
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
