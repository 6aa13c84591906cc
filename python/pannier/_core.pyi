"""The compiled part of pannier."""

from collections.abc import Callable, Iterable, Sequence
import pickle
from typing import Any, Literal

from typing_extensions import Buffer


def version() -> str:
    """As major.minor.patch."""

class View(Buffer):
    """
    Bytes outside the Python heap: of a received message or of a pool.

    Has the buffer protocol (one-dimensional, format 'B'). The bytes live as long as the view or anything made of it; when the last of these dies, on any thread, a received buffer is handed back to its sender.
    """

    def __buffer__(self, flags: int, /) -> memoryview: ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Bytes."""

    @property
    def readonly(self) -> bool:
        """True if the bytes must not be written to."""

    def __repr__(self) -> str: ...

class Pool:
    @staticmethod
    def create(quota: int, name: str, leases_per_peer: int, warm: int, idle_time: float | None, debug: bool) -> Pool: ...

    @staticmethod
    def default() -> Pool: ...

    def allocate(self, size: int, timeout: float | None) -> View: ...

    def contains(self, address: int, size: int) -> bool: ...

    def leases(self, address: int) -> int: ...

    def wait(self, address: int, timeout: float | None) -> None: ...

    def trim(self) -> int: ...

    def close(self) -> None: ...

    def stats(self) -> dict[str, Any]: ...

    def audit(self) -> None:
        """Checks every invariant of the pool, for tests."""

class Options:
    """How connections are made; see transport/connection.h."""

    def __init__(self) -> None: ...

    @property
    def pool(self) -> Pool: ...

    @pool.setter
    def pool(self, arg: Pool | None, /) -> None: ...

    @property
    def inline_threshold(self) -> int: ...

    @inline_threshold.setter
    def inline_threshold(self, arg: int, /) -> None: ...

    @property
    def readonly(self) -> bool: ...

    @readonly.setter
    def readonly(self, arg: bool, /) -> None: ...

    @property
    def link(self) -> bool: ...

    @link.setter
    def link(self, arg: bool, /) -> None: ...

    @property
    def carrier(self) -> str:
        """"auto", "zmq" or "lane"."""

    @carrier.setter
    def carrier(self, arg: str, /) -> None: ...

    @property
    def spin(self) -> float:
        """Seconds."""

    @spin.setter
    def spin(self, arg: float, /) -> None: ...

    @property
    def insecure(self) -> bool: ...

    @insecure.setter
    def insecure(self, arg: bool, /) -> None: ...

    @property
    def max_message_bytes(self) -> int: ...

    @max_message_bytes.setter
    def max_message_bytes(self, arg: int, /) -> None: ...

    @property
    def handshake_timeout(self) -> float:
        """Seconds."""

    @handshake_timeout.setter
    def handshake_timeout(self, arg: float, /) -> None: ...

class Connection:
    def send(self, stream: Buffer, buffers: Sequence[Buffer], timeout: float | None) -> None: ...

    def send_plain(self, obj: object, timeout: float | None) -> bool:
        """Pickles obj and sends it, if it is_plain; else False."""

    def receive_object(self, timeout: float | None, readonly: bool, loads: Callable[[View, list[View]], Any] | None) -> Any:
        """What loads, or pickle.loads if it is None, makes of the next message."""

    def receive(self, timeout: float | None, readonly: bool) -> tuple[View, list[View]]: ...

    def poll(self, timeout: float | None) -> bool: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    @property
    def closed(self) -> bool: ...

    def info(self) -> dict[str, Any]: ...

    def stats(self) -> dict[str, int]: ...

class Listener:
    def accept(self, timeout: float | None) -> Connection: ...

    def close(self) -> None: ...

    @property
    def endpoint(self) -> str: ...

def connect(endpoint: str, options: Options, timeout: float | None) -> Connection: ...

def listen(endpoint: str, options: Options) -> Listener: ...

class PendingCall:
    """See rpc/client.h."""

    def take(self) -> tuple[View, list[View]]:
        """The result of a call that is done, once."""

    def load(self, loads: Callable[[View, list[View]], Any] | None) -> Any:
        """The same, unpickled by loads, or by pickle.loads if it is None."""

    def wait(self, timeout: float | None) -> bool:
        """True once the call is done; False if time ran out."""

    @property
    def done(self) -> bool: ...

    def cancel(self) -> None: ...

    def on_done(self, function: Callable[[], object]) -> None:
        """Calls it when the call is done, on the thread that received the reply."""

class PendingStream:
    """See rpc/client.h."""

    def next(self, timeout: float | None) -> tuple[View, list[View]] | None: ...

    def try_next(self) -> tuple[View, list[View]] | None | Literal[False]:
        """As next, or False if there is none yet; receives nothing."""

    def wait(self, timeout: float | None) -> bool:
        """True once try_next has something; False if time ran out."""

    def result(self) -> tuple[View, list[View]]: ...

    def cancel(self) -> None: ...

    def on_change(self, function: Callable[[], object]) -> None: ...

class Client:
    @staticmethod
    def connect(endpoint: str, options: Options, timeout: float, reconnect: float) -> Client: ...

    def call(self, method: str, stream: Buffer, buffers: Sequence[Buffer], keywords: bool, timeout: float | None, retries: int) -> tuple[View, list[View]]: ...

    def start(self, method: str, stream: Buffer, buffers: Sequence[Buffer], keywords: bool, timeout: float | None, wait: bool) -> PendingCall | None: ...

    def start_stream(self, method: str, stream: Buffer, buffers: Sequence[Buffer], keywords: bool, timeout: float | None, credit: int, wait: bool) -> PendingStream | None: ...

    def notify(self, method: str, stream: Buffer, buffers: Sequence[Buffer], keywords: bool, timeout: float | None) -> None: ...

    def dispatch(self) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def info(self) -> dict[str, Any]: ...

    def stats(self) -> dict[str, int]: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def alive(self) -> bool: ...

class Receiver:
    """See rpc/receiver.h."""

    @staticmethod
    def make() -> Receiver: ...

    def add(self, client: Client) -> None: ...

    def kick(self, now: bool) -> None: ...

    def run(self) -> None: ...

    def stop(self) -> None: ...

class CallContext:
    """See rpc/call_context.h."""

    @property
    def method(self) -> str: ...

    @property
    def remaining(self) -> float | None: ...

    @property
    def peer(self) -> str: ...

    @property
    def same_user(self) -> bool: ...

    @property
    def info(self) -> dict[str, Any]: ...

    @property
    def wants_items(self) -> bool: ...

    @property
    def cancelled(self) -> bool: ...

    def check(self) -> None: ...

    @property
    def credit(self) -> int: ...

    def emit(self, item: tuple[Buffer, Sequence[Buffer]]) -> None: ...

    def defer(self) -> None: ...

    def finish(self, answer: tuple[Buffer, Sequence[Buffer]] | Failure) -> None: ...

    def on_ready(self, function: Callable[[], object]) -> None: ...

class Failure:
    """What a handler's exception is to the caller."""

    def __init__(self, module: str, qualname: str, message: str, traceback: str, exception: bytes) -> None: ...

class Server:
    def __init__(self, options: Options, threads: int, max_calls: int | None, max_calls_per_peer: int | None, max_call_bytes: int | None) -> None: ...

    def function(self, name: str, handler: object, signature: str, doc: str) -> None:
        """Calls the function of a handler: one of pannier._handlers."""

    def method(self, name: str, function: Callable[..., Any], signature: str, doc: str) -> None:
        """
        Calls function(stream, buffers, keywords, context), which returns (stream, buffers), a Failure, or None if it deferred the answer, and does not raise.
        """

    def listen(self, endpoint: str) -> None: ...

    def serve(self) -> None: ...

    def work(self) -> None: ...

    def drain(self) -> None: ...

    def stats(self) -> dict[str, Any]: ...

    def stop(self) -> None: ...

    @property
    def endpoint(self) -> str: ...

def handles(server: object) -> bool:
    """True if this thread runs a function of it."""

def dumps_call(function: object | None, args: tuple[Any, ...]) -> bytes | None:
    """
    A pickle of (function, args, {}), or None where the function has no name or args is not plain: then pickle says what becomes of it.
    """

class Claims:
    """Which calls of a worker have begun; shared with it."""

    def __init__(self, memory: Buffer) -> None: ...

    def begin(self, number: int) -> bool: ...

    def end(self) -> None: ...

    def recall(self, last: int) -> int: ...

    @property
    def seconds(self) -> float: ...

class SafeNames:
    """Names that an untrusted stream may use: the safe set, and more."""

    def __init__(self, allowed: Iterable[tuple[str, str]]) -> None: ...

    def check(self, stream: bytes, buffers: Sequence[Buffer] | None, encoding: str, errors: str, fix_imports: bool, limits: dict[str, int] | None, context: str) -> None:
        """Raises ForbiddenGlobal for what the stream does that it may not."""

def safe_set() -> list[tuple[str, str]]: ...

class Document:
    """A decoded pickle; see pannier.codec."""

    def encode(self, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], object] | None, fix_imports: bool) -> bytes: ...

    def to_python(self, nodes: tuple[type, ...]) -> Any: ...

    def repr(self, max_bytes: int) -> str: ...

    def equal(self, arg: Document, /) -> bool: ...

    def isomorphic(self, arg: Document, /) -> bool: ...

    @property
    def nodes(self) -> int: ...

    @property
    def consumed(self) -> int: ...

    @property
    def buffers_used(self) -> int: ...

    @property
    def protocol(self) -> int: ...

def decode(data: Buffer, buffers: Iterable[Buffer] | None, encoding: str, errors: str, fix_imports: bool, limits: dict[str, int]) -> Document: ...

def dis(data: Buffer, indent: int, annotate: int, notes: Iterable[str], max_bytes: int) -> tuple[str, Exception | None]: ...

def optimize(data: Buffer) -> bytes: ...

def find_globals(data: Buffer, fix_imports: bool) -> tuple[list[tuple[str, str, int, str, int]], Exception | None]: ...

def is_plain(obj: object | None) -> bool:
    """
    True if obj has at most 64 objects, exact builtins all, and no long bytes: no reducer and no buffer can matter to its pickle. False says nothing.
    """

def shutdown(seconds: float) -> bool:
    """
    Refuses waits from now on and lets those under way return. True if all did.
    """

def flush_before_exit() -> None:
    """Lets what closed connections sent leave, if no other is open."""

def undisturbed(function: Callable[..., object], *arguments: Any) -> None:
    """Calls it; on the main thread, what Ctrl-C raises is raised afterwards."""

def set_unless(object: object, guard: str, name: str, value: object) -> bool:
    """
    Sets object.name, unless object.guard is not False; tells whether it did. Both are plain attributes, so no other thread runs in between: the GIL is held throughout.
    """

def after_fork() -> None:
    """To be called in a forked child, before all else."""
