"""How objects become messages.

CPython's C pickler does the pickling, so anything that pickles travels. Three things are added to
``pickle.dumps(obj, 5, buffer_callback=...)``, and none of them is seen by a receiver, which needs
no more than ``pickle.loads(stream, buffers=...)``:

- bytes and bytearrays of at least ``BYTES_THRESHOLD`` go out of band wherever they stand in the
  object. The pickler writes such ones by themselves, past its own buffer, after an opcode that
  says their length; `_Stream` then writes in place of both the call that makes the same object
  of an out-of-band buffer. So they are not copied into the stream, only out of the block.
- arrays and tensors that their packages write in band are reduced as ``pannier.reducers`` says;
- what ``copyreg`` knows counts, as everywhere, and first.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections.abc import Callable, Mapping
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from ._core import is_plain
from .reducers import reducers_for

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["BYTES_THRESHOLD", "Pickling"]

# From this length on the pickler writes bytes by themselves (its frames are not longer), so no
# lower bound is possible; bench/pickling.py shows that a higher one would not be better.
BYTES_THRESHOLD = 64 * 1024

# The call that makes an object of the next out-of-band buffer: GLOBAL, NEXT_BUFFER, TUPLE1,
# REDUCE. What the pickler writes next memoizes it, as it would the bytes themselves.
_FROM_BUFFER: dict[type, bytes] = {
    bytes: b"cbuiltins\nbytes\n\x97\x85R",
    bytearray: b"cbuiltins\nbytearray\n\x97\x85R",
}


def _lengths(payload: bytes | bytearray) -> bytes:
    """The opcode that announces a payload: BYTEARRAY8, BINBYTES or BINBYTES8, and its length."""
    size = len(payload)
    if type(payload) is bytearray:
        return b"\x96" + size.to_bytes(8, "little")
    if size <= 0xFFFFFFFF:
        return b"B" + size.to_bytes(4, "little")
    return b"\x8e" + size.to_bytes(8, "little")


def _outside_of_frames(chunk: bytes) -> int:
    """Where that part of a chunk begins that is in no frame. A chunk is, in this order: PROTO, if
    it is the first; a frame, unless that had fewer than four bytes, which then stand alone; and
    the opcode that announces the payload to come, if one does."""
    begin = 2 if chunk.startswith(b"\x80") else 0
    if chunk.startswith(b"\x95", begin):
        begin += 9 + int.from_bytes(chunk[begin + 1 : begin + 9], "little")
    return begin


class _Stream:
    """What the pickler writes to, and the buffers in the order of the opcodes that ask for them."""

    __slots__ = ("buffers", "chunks")

    def __init__(self) -> None:
        self.buffers: list[PickleBuffer] = []
        self.chunks: list[bytes] = []

    def write(self, chunk: Any) -> None:
        if not self.chunks:
            self.chunks.append(chunk)
        elif type(chunk) in _FROM_BUFFER and self._announced(chunk):
            self.chunks.append(_FROM_BUFFER[type(chunk)])
            # Read-only, which is the fastest way: what is made of it is a copy.
            self.buffers.append(PickleBuffer(memoryview(chunk).toreadonly()))
        else:
            # Bytes of its own: the memory of a long str is shown to us for this call alone.
            self.chunks.append(chunk if type(chunk) is bytes else bytes(chunk))

    def _announced(self, payload: bytes | bytearray) -> bool:
        """True if `payload` is what the chunk before announces; the announcement is then taken
        out of it. False for a chunk that is no payload, whatever the bytes before it."""
        if len(payload) < BYTES_THRESHOLD:
            return False
        before = self.chunks[-1]
        lengths = _lengths(payload)
        rest = len(before) - _outside_of_frames(before) - len(lengths)
        if not (0 <= rest < 4 and before.endswith(lengths)):
            return False
        self.chunks[-1] = before[: -len(lengths)]
        return True


class Pickling:
    """Pickles for the connections of one pool (None: the process's own), in which it makes what
    has to be copied. `pickler` may be a subclass, as ``cloudpickle.Pickler``. Thread-safe."""

    __slots__ = ("_pickler", "_pool", "_state")

    def __init__(
        self, pool: Pool | None = None, pickler: type[pickle.Pickler] = pickle.Pickler
    ) -> None:
        self._pool = pool
        self._pickler = pickler
        # How many modules were imported, what copyreg knew, and the table that follows.
        self._state: tuple[int, dict[type, Any], dict[type, Callable[[Any], Any]]] = (0, {}, {})

    def __call__(self, obj: Any) -> tuple[bytes, list[PickleBuffer]]:
        """The stream of `obj`, protocol 5, and its buffers, which are views of memory that lives
        as long as they do. Raises what ``pickle.dumps`` raises."""
        if is_plain(obj) and self._pickler is pickle.Pickler:
            return pickle.dumps(obj, 5), []
        modules, known, table = self._state
        if modules != len(sys.modules) or known != copyreg.dispatch_table:
            table = self._renew()
        stream = _Stream()
        pickler = self._pickler(stream, 5, buffer_callback=stream.buffers.append)
        pickler.dispatch_table = table
        pickler.dump(obj)
        chunks = stream.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks), stream.buffers

    def _renew(self) -> dict[type, Callable[[Any], Any]]:
        modules = len(sys.modules)  # first: what is imported meanwhile is seen the next time
        known = dict(copyreg.dispatch_table)
        table = {**reducers_for(self._pool), **known}
        if isinstance(self._pickler.dispatch_table, Mapping):  # that of a subclass
            table.update(self._pickler.dispatch_table)
        self._state = modules, known, table
        return table
