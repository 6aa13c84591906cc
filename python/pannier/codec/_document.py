"""Decoded pickles."""

from __future__ import annotations

import codecs
import dataclasses
import pickle
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .. import _core
from ._nodes import NODE_CLASSES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Document", "Limits", "decode", "encoding_name", "errors_name"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what one pickle may ask for; 0 is none. Beyond one, ``LimitExceeded`` is raised.

    Work and memory are linear in the length of a pickle anyway, at most about a hundred bytes
    for each of its own.
    """

    stream_bytes: int = 0
    opcodes: int = 0
    objects: int = 0
    """Values with an identity: containers, objects, shared texts. Without a bound, 2**32 - 2."""
    memo_entries: int = 0
    arena_bytes: int = 0
    """Memory for values."""
    depth: int = 0
    """How deep values lie in one another."""
    argument_bytes: int = 0
    """Of one text, number or line."""
    comparisons: int = 0
    """Comparisons of dict keys and set elements. Without a bound, 64 for each byte of the pickle,
    and 2**20 more."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, int) or not 0 <= value < 1 << 64:
                raise ValueError(f"Limits: {name} is {value!r}, not a natural number")


class Document:
    """A decoded pickle: what it describes, without any of it having been run.

    Made by ``decode``. Borrows the texts in the bytes it was decoded from, and keeps these:
    they must not change as long as it lives.
    """

    __slots__ = ("__weakref__", "_core")

    _core: _core.Document

    def __init__(self) -> None:
        raise TypeError("Documents are made by pannier.codec.decode")

    @property
    def nodes(self) -> int:
        """The number of values that have an identity: containers, objects and shared texts."""
        return self._core.nodes

    @property
    def protocol(self) -> int:
        """The protocol that the pickle states; 0 if it states none, as those of 0 and 1 do."""
        return self._core.protocol

    @property
    def consumed(self) -> int:
        """The length of the pickle in the bytes given: what follows was not looked at."""
        return self._core.consumed

    @property
    def buffers_used(self) -> int:
        """How many of the buffers given the pickle refers to."""
        return self._core.buffers_used

    def encode(
        self,
        protocol: int = 5,
        *,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
        fix_imports: bool = True,
    ) -> bytes:
        """The pickle of it, as ``pickle.dumps`` writes it for the objects it describes.

        `protocol` is 0 to 5; a negative one means 5. Buffers that were out of band are given to
        `buffer_callback`, which says by a false result that they shall stay so; without it, they
        are written in band. `fix_imports` writes names of Python 2 in protocols 0 to 2. Raises
        PicklingError for what the protocol cannot say.
        """
        if protocol > 5:
            raise ValueError(f"pickle protocol must be <= 5, not {protocol}")
        if buffer_callback is not None and 0 <= protocol < 5:
            raise ValueError("buffer_callback needs protocol >= 5")
        return self._core.encode(5 if protocol < 0 else protocol, buffer_callback, fix_imports)

    def to_python(self) -> Any:
        """What it describes, as Python objects.

        Builtins are builtins; everything else is a node (``Global``, ``Reduce``, ``NewObj``, ...).
        What is one object in the pickle is one object here, and cycles are cycles. Out-of-band
        buffers are the objects given to ``decode``. Each call makes new objects. Nothing is
        imported.
        """
        return self._core.to_python(NODE_CLASSES)

    def isomorphic(self, other: Document) -> bool:
        """Whether both are equal and share their objects alike; ``==`` does not look at what is
        shared."""
        return self._core.isomorphic(other._core)

    def __eq__(self, other: object) -> bool:
        """Whether both describe the same values, in the same order. Cycles are no obstacle."""
        if not isinstance(other, Document):
            return NotImplemented
        return self._core.equal(other._core)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        """Its value, as ``repr`` would write it; cut after 64 KiB."""
        return self._core.repr(1 << 16)

    def __repr__(self) -> str:
        return (
            f"<pannier.codec.Document: protocol {self.protocol}, {self.consumed} bytes, "
            f"{self.nodes} nodes: {self._core.repr(200)}>"
        )


def encoding_name(encoding: str | None) -> str:
    """The name by which pannier._core knows an encoding. Raises LookupError."""
    if encoding is None:
        return ""
    if encoding == "bytes":
        return "bytes"
    name = codecs.lookup(encoding).name
    return name if name in ("ascii", "iso8859-1", "utf-8") else encoding


def errors_name(errors: str) -> str:
    """`errors`, if Python knows it. Raises LookupError."""
    codecs.lookup_error(errors)
    return errors


_NO_LIMITS = Limits()


def decode(
    data: Buffer,
    *,
    buffers: Iterable[Buffer] | None = None,
    encoding: str | None = "ASCII",
    errors: str = "strict",
    fix_imports: bool = True,
    limits: Limits | None = None,
) -> Document:
    """Decodes the pickle at the start of `data`, of any protocol, and runs nothing.

    `data` is anything with contiguous bytes; it is not copied, and kept by the Document.
    `buffers` are those that were pickled out of band, in order. `encoding`, `errors` and
    `fix_imports` say how to read pickles of Python 2, as for ``pickle.loads``; `encoding`
    may also be None, which keeps 8-bit strings apart (``Str8``), so that ``encode`` writes them
    again.

    Raises UnpicklingError, which says where; LimitExceeded.
    """
    document = Document.__new__(Document)
    document._core = _core.decode(
        data,
        buffers,
        encoding_name(encoding),
        errors_name(errors),
        fix_imports,
        dataclasses.asdict(limits or _NO_LIMITS),
    )
    return document
