"""Zero-copy transport for pickled objects and their out-of-band buffers.

The pickle stream of an object, small, travels as a message; its buffers, large, stay in shared
memory and are lent to the receiver. ``connect`` and ``Listener`` carry messages, ``Client`` and
``Server`` calls, ``empty`` and ``pool`` make arrays that are sent without a copy.
"""

from . import _core, codec, errors
from .client import Client, MethodInfo
from .connection import Connection, ConnectionInfo, ConnectionStats, Listener, connect
from .context import CallContext, current_call
from .errors import (
    Cancelled,
    Closed,
    ConnectionLost,
    CorruptMessage,
    DeadlineExceeded,
    Error,
    ForbiddenGlobal,
    Forked,
    LimitExceeded,
    PoolExhausted,
    Refused,
    RemoteError,
    UnknownMethod,
)
from .executor import Executor, WorkerDied
from .message import Message, dumps, loads
from ._pool import PeerLeases, Pool, PoolStats, asarray, empty, ones, pool, zeros
from .server import Server, ServerStats
from .stream import Stream

__version__ = _core.version()

__all__ = [
    "CallContext",
    "Cancelled",
    "Client",
    "Closed",
    "Connection",
    "ConnectionInfo",
    "ConnectionLost",
    "ConnectionStats",
    "CorruptMessage",
    "DeadlineExceeded",
    "Error",
    "Executor",
    "ForbiddenGlobal",
    "Forked",
    "LimitExceeded",
    "Listener",
    "Message",
    "MethodInfo",
    "PeerLeases",
    "Pool",
    "PoolExhausted",
    "PoolStats",
    "Refused",
    "RemoteError",
    "Server",
    "ServerStats",
    "Stream",
    "UnknownMethod",
    "WorkerDied",
    "__version__",
    "asarray",
    "codec",
    "connect",
    "current_call",
    "dumps",
    "empty",
    "errors",
    "loads",
    "ones",
    "pool",
    "zeros",
]
