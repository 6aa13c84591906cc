"""Messages between two processes, with the habits of ``multiprocessing.connection``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._closing import Closing
from ._exit import close_at_exit
from .message import Message
from .pickling import Pickling
from .trust import Allow, loads_for, names_of

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Carrier", "Connection", "ConnectionInfo", "ConnectionStats", "Listener", "connect"]


# What carries the pickle streams of a connection.
Carrier = Literal["auto", "zmq", "lane"]


@dataclass(frozen=True)
class ConnectionInfo:
    """Who is on the far side, and how messages travel.

    ``carrier`` tells what carries the pickle streams: "lane" (rings in shared memory) or "zmq".
    ``link`` tells whether buffers travel by lease, ``no_link_reason`` why not; ``same_user`` and
    ``pid`` are what the kernel attests on the link; ``trusted`` tells whether this side unpickles
    everything that the peer sends.
    """

    endpoint: str
    peer: str
    carrier: str
    link: bool
    no_link_reason: str
    same_user: bool
    pid: int
    version: int

    @property
    def trusted(self) -> bool:
        return self.same_user


@dataclass(frozen=True)
class ConnectionStats:
    """Counts since the connection was made. ``copied_bytes`` are the payload bytes that this side
    copied, in either direction: 0 if all buffers were sent from its pool. ``relinks``: how often a
    link that broke while its peer lived was replaced."""

    messages_sent: int
    messages_received: int
    stream_bytes_sent: int
    stream_bytes_received: int
    leased_bytes_sent: int
    leased_bytes_received: int
    inline_bytes_sent: int
    inline_bytes_received: int
    copied_bytes: int
    relinks: int


def make_options(
    pool: Pool | None,
    readonly: bool,
    link: bool,
    inline_threshold: int | None,
    max_message_bytes: int | None,
    handshake_timeout: float | None = None,
    insecure: bool = False,
    carrier: Carrier = "auto",
    spin: float | None = None,
) -> _core.Options:
    options = _core.Options()
    options.carrier = carrier
    if spin is not None:
        options.spin = spin
    options.pool = None if pool is None else pool._core
    options.readonly = readonly
    options.link = link
    options.insecure = insecure
    if inline_threshold is not None:
        options.inline_threshold = inline_threshold
    if max_message_bytes is not None:
        options.max_message_bytes = max_message_bytes
    if handshake_timeout is not None:
        options.handshake_timeout = handshake_timeout
    return options


class Connection(Closing):
    """One end of a connection; made by ``connect`` and ``Listener.accept``.

    Any threads may send and receive at the same time; other threads run while one waits.
    Timeouts are seconds, None waits for ever. Errors of all calls: ConnectionLost (the peer is
    gone, and what it sent was received), Closed (this side closed before), Forked.
    """

    __slots__ = ("__weakref__", "_core", "_info", "_load", "_pickle", "_recv", "_send_plain")

    def __init__(
        self, core: _core.Connection, allowed: dict[tuple[str, str], Any], pool: Pool | None
    ) -> None:
        self._core = core
        self._pickle = Pickling(pool)
        self._info = ConnectionInfo(**core.info())
        self._load = loads_for(self._info.same_user, self._info.peer, allowed)
        self._send_plain, self._recv = core.send_plain, core.receive_object
        close_at_exit(self)

    def send(self, obj: Any, timeout: float | None = None) -> None:
        """Pickles `obj` and sends it.

        Arrays that lie in the connection's pool (``pannier.empty``) are lent to the peer and must
        not change until they are home (``Pool.wait``). All others are copied, once, before this
        returns. On an error nothing was sent. Raises DeadlineExceeded (the peer does not keep up),
        PoolExhausted (no room for the copy by then), LimitExceeded, and what ``pickle.dumps``
        raises.
        """
        if not self._send_plain(obj, timeout):
            self._core.send(*self._pickle(obj), timeout)

    def send_message(self, message: Message, timeout: float | None = None) -> None:
        """Sends a message as it is: one of ``pannier.dumps``, or one that was received.
        Errors as for ``send``."""
        self._core.send(message.stream, message.buffers, timeout)

    def recv(self, timeout: float | None = None, *, readonly: bool = False) -> Any:
        """The next object.

        Its arrays are writable where the sender's were (writes are seen by nobody else), unless
        the connection is read-only or `readonly` asks for it, this once: the fastest way. Each is
        handed back to the sender when its last view dies, on any thread, also after the connection
        is closed.

        Raises DeadlineExceeded; CorruptMessage; ForbiddenGlobal and what ``pickle.loads`` raises:
        that message is gone then, its buffers are handed back, and the connection goes on.
        """
        return self._recv(timeout, readonly, None if self._info.same_user else self._load)

    def recv_message(self, timeout: float | None = None, *, readonly: bool = False) -> Message:
        """The next message, not unpickled: for ``pickle.loads(message.stream,
        buffers=message.buffers)``, for ``message.load()``, or to be sent on."""
        stream, buffers = self._core.receive(timeout, readonly)
        return Message(stream, buffers, _loads=self._load)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """True if ``recv`` would not wait, be it for a message or because the peer is gone."""
        return self._core.poll(timeout)

    def fileno(self) -> int:
        """A descriptor that is readable when ``recv`` may have something to do, for ``select``,
        ``asyncio`` and ``multiprocessing.connection.wait``. It may be readable for nothing:
        ``poll()`` tells. It lives as long as the connection, which owns it."""
        return self._core.fileno()

    def close(self) -> None:
        """Ends the connection. The peer receives what was sent before; arrays on either side stay
        good. Any thread; more than once is no error."""
        self._core.close()

    @property
    def closed(self) -> bool:
        """True after ``close``, or when the connection was ended by a CorruptMessage."""
        return self._core.closed

    @property
    def info(self) -> ConnectionInfo:
        return self._info

    def stats(self) -> ConnectionStats:
        return ConnectionStats(**self._core.stats())

    def __repr__(self) -> str:
        info = self._info
        state = "closed" if self._core.closed else "link" if info.link else "no link"
        return f"<pannier.Connection with {info.peer}, {state}>"


class Listener(Closing):
    """The listening side of an endpoint: ``ipc://PATH``, ``tcp://HOST:PORT`` or ``inproc://NAME``.

    tcp is neither encrypted nor authenticated, so it needs ``insecure=True``. From a peer that is
    not attested to be of the same user only the safe set is unpickled, and the names in `allow`:
    pairs ``(module, name)``, types or functions.

    ``readonly``: all received arrays are read-only, the fastest way. ``pool``: where sent buffers
    are copied to. ``link=False``: no shared memory, buffers travel in frames.
    ``inline_threshold``: buffers of fewer bytes travel in frames. ``max_message_bytes``: the most
    that one incoming message may take outside of shared memory.

    ``carrier``: what carries the pickle streams, where both sides agree: "lane", rings in shared
    memory, for which the peer must be a process of this host; "zmq"; or "auto", a lane where there
    can be one. ``spin``: for how many seconds at most a call that waits on a lane may turn before
    it sleeps; less is used while waits are long, and never more than a millisecond. It saves the
    waking of a processor and costs its time: 0 for never. By default 50 microseconds.

    Raises ValueError (endpoint, carrier, spin; tcp without ``insecure``), OSError (errno EADDRINUSE).
    """

    __slots__ = ("__weakref__", "_allowed", "_core", "_pool")

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
        self._allowed = names_of(allow)
        self._pool = pool
        options = make_options(
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
        self._core = _core.listen(address, options)
        close_at_exit(self, listens=True)

    def accept(self, timeout: float | None = None) -> Connection:
        """The next connection. Raises DeadlineExceeded, Closed."""
        return Connection(self._core.accept(timeout), self._allowed, self._pool)

    @property
    def address(self) -> str:
        """The endpoint as bound: for ``tcp://HOST:*`` with the port that was taken."""
        return self._core.endpoint

    def close(self) -> None:
        """Stops listening; accepted connections go on. Any thread; idempotent."""
        self._core.close()

    def __repr__(self) -> str:
        return f"<pannier.Listener at {self.address}>"


def connect(
    address: str,
    *,
    timeout: float | None = 10.0,
    readonly: bool = False,
    allow: Allow = (),
    pool: Pool | None = None,
    link: bool = True,
    inline_threshold: int | None = None,
    max_message_bytes: int | None = None,
    carrier: Carrier = "auto",
    spin: float | None = None,
) -> Connection:
    """Connects to a Listener, which may start later, within `timeout` seconds (None: for ever).

    The other arguments are as for ``Listener``. Raises DeadlineExceeded, Refused (``carrier="lane"``
    where there can be none, too), ConnectionLost, ValueError (endpoint, carrier, spin).
    """
    options = make_options(
        pool, readonly, link, inline_threshold, max_message_bytes, carrier=carrier, spin=spin
    )
    allowed = names_of(allow)
    return Connection(_core.connect(address, options, timeout), allowed, pool)
