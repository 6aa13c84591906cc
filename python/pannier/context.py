"""What a handler may ask of the call that it answers."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    from .server import Server

__all__ = ["CallContext", "current", "current_call", "handles", "handling"]

# The call that is handled. Set where there is no server of Python's; else by `handling`.
current: contextvars.ContextVar[_core.CallContext] = contextvars.ContextVar("pannier-call")
_thread = threading.local()


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
    return CallContext(current.get())


class handling:
    """With it, this thread handles a call, of `server` if that is one of Python's."""

    __slots__ = ("_context", "_server", "_token")

    def __init__(self, context: _core.CallContext, server: Server | None = None) -> None:
        self._context = context
        self._server = server

    def __enter__(self) -> None:
        self._token = current.set(self._context)
        _thread.server = self._server

    def __exit__(self, *exception: object) -> None:
        _thread.server = None
        current.reset(self._token)


def handles(server: Server) -> bool:
    """True on a thread that runs a handler of this server: it cannot wait for its own end."""
    return _core.handles(server) or getattr(_thread, "server", None) is server
