"""The exceptions of pannier.

Each also derives from the built-in exception that a program written for
``multiprocessing.connection`` or ``concurrent.futures`` catches in its place. Wrong arguments
raise ``ValueError`` or ``TypeError``, and what the operating system refuses raises ``OSError``
with its ``errno``, as everywhere in Python.
"""

from __future__ import annotations

import pickle
from concurrent.futures import CancelledError
from typing import Any

__all__ = [
    "Cancelled",
    "Closed",
    "ConnectionLost",
    "CorruptMessage",
    "DeadlineExceeded",
    "Error",
    "ForbiddenGlobal",
    "Forked",
    "LimitExceeded",
    "PicklingError",
    "PoolExhausted",
    "Refused",
    "RemoteError",
    "UnknownMethod",
    "UnpicklingError",
]


class Error(Exception):
    """Base of the exceptions that pannier defines."""


class ConnectionLost(Error, ConnectionError, EOFError):
    """The peer closed the connection or died, and all that it sent was received.

    Also an ``EOFError``, which ``multiprocessing`` raises for a peer that closed, and a
    ``ConnectionError``, which it raises for one that died.
    """


class DeadlineExceeded(Error, TimeoutError):
    """Time ran out first. The connection goes on."""


class PoolExhausted(Error, MemoryError):
    """No room within the pool's quota, or no credit with the peer; names who holds most."""


class PicklingError(Error, pickle.PicklingError):
    """The codec cannot write a value in the protocol that was asked for.

    ``path`` says where the value lies, as an expression; empty if that is unknown.
    """

    offset: int | None = None
    opcode: str | None = None
    path: str = ""


class UnpicklingError(Error, pickle.UnpicklingError, ValueError):
    """Bytes that are not a pickle. Also a ``ValueError``, which ``pickletools`` raises for these.

    ``offset`` counts the bytes before the culprit, ``opcode`` is the name of the opcode there;
    both are None where they are unknown. ``output`` is what ``codec.dis`` and ``codec.globals``
    had found before it.
    """

    offset: int | None = None
    opcode: str | None = None
    path: str = ""
    output: Any = None


class ForbiddenGlobal(Error, pickle.UnpicklingError):
    """A pickle of somebody who is not trusted names a global outside the safe set, or misuses one.

    ``module`` and ``name`` say which, ``offset`` where the pickle looks it up, by the opcode
    named ``opcode``. None where there is no such thing: a call of what a call returned has no
    name.
    """

    module: str | None = None
    name: str | None = None
    offset: int | None = None
    opcode: str | None = None


class CorruptMessage(Error):
    """The peer sent bytes that no correct peer sends. The connection is closed."""


class Refused(Error, ConnectionRefusedError):
    """The listener answered, and would not have the connection."""


class Closed(Error, OSError):
    """The object was closed by this side before."""


class Forked(Error, RuntimeError):
    """The object belongs to the process that this one was forked from."""


class LimitExceeded(Error, ValueError):
    """A message is larger than a limit that this side or the peer set.

    For a pickle, ``offset`` and ``output`` are as in UnpicklingError.
    """

    offset: int | None = None
    opcode: str | None = None
    output: Any = None


class Cancelled(Error, CancelledError):
    """The call was cancelled by its caller."""


class RemoteError(Error):
    """The handler of a call failed, with an exception that cannot be raised here itself.

    ``type`` is the qualified name of the exception on the far side ("mypackage.Oops"),
    ``message`` its text, ``traceback`` the text of its traceback, empty if there is none.
    """

    type: str = ""
    message: str = ""
    traceback: str = ""


class UnknownMethod(RemoteError, AttributeError):
    """The server has no method of that name."""


class RemoteTraceback(Exception):
    """Stands as the cause of an exception that was raised on the far side."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\nOn the far side:\n{self.text.rstrip()}"


# The names by which pannier._core finds a class for each kind of error (status.cc): those above,
# and these.
InvalidArgument = ValueError
Interrupted = InterruptedError
SystemFailure = OSError


def from_failure(
    cls: type[BaseException],
    text: str,
    module: str,
    qualname: str,
    message: str,
    traceback: str,
    exception: bytes,
) -> BaseException:
    """What pannier._core raises for an error reply. `exception` is a pickle of what the handler
    raised, or empty; Client decides whether it may be loaded."""
    error = cls(text)
    if isinstance(error, RemoteError):
        error.type = f"{module}.{qualname}" if module else qualname
        error.message = message
        error.traceback = traceback
        error.pickled = exception  # type: ignore[attr-defined]
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error
