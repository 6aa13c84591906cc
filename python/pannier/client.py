"""The calling side of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._closing import Closing
from ._exit import close_at_exit
from .connection import Carrier, ConnectionInfo, ConnectionStats, make_options
from .errors import RemoteError
from .pickling import Pickling
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Client"]

_UNSET: Any = object()


class Client(Closing):
    """Calls the methods of a server, in Python or C++.

    ``client.call("blur", image, 2.0)`` and ``client.blur(image, 2.0)`` are the same, but for
    methods whose names Client has itself. A server in C++ takes positional arguments only.

    `timeout` is that of calls which state none, in seconds; None waits for ever. `connect_timeout`
    is that of connecting: the server may start later. The other arguments are as for ``connect``.

    Thread-safe. When the connection ends, all calls fail with ConnectionLost at once. Nothing is
    called twice.
    """

    __slots__ = ("__weakref__", "_address", "_core", "_info", "_load", "_pickle", "_timeout")

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None = None,
        connect_timeout: float = 10.0,
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
        self._core = _core.Client.connect(address, options, connect_timeout)
        self._info = ConnectionInfo(**self._core.info())
        self._load = loads_for(self._info.same_user, self._info.peer, allowed)
        self._address = address
        self._timeout = timeout
        self._pickle = Pickling(pool)
        close_at_exit(self)

    def call(
        self, method: str, /, *args: Any, timeout: float | None = _UNSET, **kwargs: Any
    ) -> Any:
        """The result of `method` on the far side.

        `timeout` seconds (None: for ever) bound the whole call; the server is told. Raises what the
        handler raised, with the far side's traceback as its cause, if this side may unpickle it,
        else RemoteError; UnknownMethod; DeadlineExceeded; ConnectionLost; PoolExhausted; Closed.
        """
        stream, buffers = self._pickle((args, kwargs) if kwargs else args)
        if timeout is _UNSET:
            timeout = self._timeout
        try:
            reply, parts = self._core.call(method, stream, buffers, bool(kwargs), timeout)
        except RemoteError as error:
            raise self._raised_there(error) from error.__cause__
        try:
            return self._load(reply, parts)
        finally:
            del reply, parts  # an exception's traceback keeps this frame

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
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    @property
    def info(self) -> ConnectionInfo:
        return self._info

    def stats(self) -> ConnectionStats:
        return ConnectionStats(**self._core.stats())

    def close(self) -> None:
        """Ends the connection; calls under way fail with Closed. Any thread; idempotent."""
        self._core.close()

    def __repr__(self) -> str:
        state = "link" if self._info.link else "no link"
        if not self._core.alive:
            state = "ended"
        return f"<pannier.Client of {self._address}, {state}>"
