"""Messages: one pickle stream and the buffers that travel beside it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .pickling import Pickling

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Loads = Callable[[Any, Sequence[Any]], Any]

__all__ = ["Message", "dumps", "loads"]


class Message:
    """One stream and its buffers, in the order in which the pickler gave them.

    ``stream`` is bytes-like; ``buffers`` is a sequence of objects with the buffer protocol,
    which ``pickle.loads(message.stream, buffers=message.buffers)`` takes as it is.

    A received message holds its buffers until it dies; then each is handed back to its sender
    when the last array made of it dies too.
    """

    __slots__ = ("__weakref__", "_loads", "buffers", "stream")

    stream: Buffer
    buffers: Sequence[Buffer]

    def __init__(
        self, stream: Buffer, buffers: Sequence[Buffer] = (), *, _loads: Loads | None = None
    ) -> None:
        self.stream = stream
        self.buffers = buffers
        self._loads = _loads

    def load(self) -> Any:
        """The object. A message that was received from a peer that is not trusted is loaded as
        its connection would: see ``Connection.recv`` for the errors."""
        return (self._loads or loads)(self.stream, self.buffers)

    def __repr__(self) -> str:
        sizes = [memoryview(buffer).nbytes for buffer in self.buffers]
        stream = memoryview(self.stream).nbytes
        return (
            f"<pannier.Message: stream of {stream} bytes, {len(sizes)} buffers of "
            f"{sum(sizes)} bytes>"
        )


_pickle = Pickling()


def dumps(obj: Any) -> Message:
    """Pickles `obj` with protocol 5, its large buffers out of band.

    The buffers of the message are views of the memory of `obj`, which must not change until the
    message was sent or loaded; strided arrays alone are copied, into the process's pool. Raises
    what ``pickle.dumps`` raises.
    """
    return Message(*_pickle(obj))


def loads(stream: Buffer, buffers: Iterable[Buffer] | None = None) -> Any:
    """``pickle.loads``: the object of a stream and its buffers. Runs what the stream says, so
    only for streams of peers that are trusted; ``Connection.recv`` knows the difference."""
    return pickle.loads(stream, buffers=buffers)
