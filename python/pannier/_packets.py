"""How calls of an Executor and their answers travel.

A call is the pickle of (function, args, kwargs), an answer that of the result, or of a `Raised`.
A lone call travels as its pickle, followed by its number (NUMBER): an unpickler stops before it.
Its answer is the pickle and nothing else.

Several travel as a packet: a pickle of (number, [(stream, number of buffers), ...]), where `number`
is that of the first; a long stream is a buffer itself. The buffers of the entries follow those of
the packet, in order.
"""

from __future__ import annotations

import itertools
import pickle
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["LARGE", "NUMBER", "Entry", "Raised", "is_large", "pack", "unpack"]

# The stream of a pickle, and its buffers.
Entry = tuple[Any, Sequence[Any]]

NUMBER = struct.Struct("<I")

# A stream of more bytes is not copied.
LARGE = 1 << 14


class Raised(NamedTuple):
    """The answer of a call that raised: as pannier._handlers.texts_of, and a pickle of the
    exception, empty if there is none."""

    module: str
    qualname: str
    message: str
    traceback: str
    pickled: bytes


def is_large(stream: bytes, buffers: Sequence[Any]) -> bool:
    """True if it is better not in a packet with others."""
    return bool(buffers) or len(stream) > LARGE


def pack(number: int, entries: Iterable[Entry]) -> tuple[bytes, list[Any]]:
    listed: list[tuple[Any, int]] = []
    own: list[Any] = []
    theirs: list[Any] = []
    for stream, buffers in entries:
        if len(stream) > LARGE:
            stream = pickle.PickleBuffer(stream)
        listed.append((stream, len(buffers)))
        theirs.extend(buffers)
    return pickle.dumps((number, listed), 5, buffer_callback=own.append), own + theirs


def unpack(stream: Any, buffers: Iterable[Any]) -> tuple[int, list[Entry]]:
    """Of a peer who is trusted."""
    rest = iter(buffers)
    number, listed = pickle.loads(stream, buffers=rest)
    return number, [
        (stream, [*itertools.islice(rest, count)] if count else ()) for stream, count in listed
    ]
