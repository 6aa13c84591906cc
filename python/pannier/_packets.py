"""Packets: several calls of an Executor in one message, or their answers.

A packet is a pickle of (head, [(flag, stream, number of buffers), ...]); a long stream is a buffer
itself. The buffers of the entries follow those of the packet, in order.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Entry", "is_large", "pack", "unpack"]

# A flag, the stream of a pickle, and its buffers.
Entry = tuple[bool, Any, Sequence[Any]]

# A stream of more bytes is not copied into the packet.
_LARGE = 1 << 14


def is_large(stream: bytes, buffers: Sequence[Any]) -> bool:
    """True if it is better alone in its packet."""
    return bool(buffers) or len(stream) > _LARGE


def pack(head: Any, entries: Iterable[Entry]) -> tuple[bytes, list[Any]]:
    listed: list[tuple[bool, Any, int]] = []
    own: list[Any] = []
    theirs: list[Any] = []
    for flag, stream, buffers in entries:
        if len(stream) > _LARGE:
            stream = pickle.PickleBuffer(stream)
        listed.append((flag, stream, len(buffers)))
        theirs.extend(buffers)
    return pickle.dumps((head, listed), 5, buffer_callback=own.append), own + theirs


def unpack(stream: Any, buffers: Iterable[Any]) -> tuple[Any, list[Entry]]:
    """Of a peer who is trusted."""
    rest = iter(buffers)
    head, listed = pickle.loads(stream, buffers=rest)
    return head, [
        (flag, stream, [*itertools.islice(rest, count)] if count else ())
        for flag, stream, count in listed
    ]
