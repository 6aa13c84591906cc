"""Tools that look at pickles: what ``pickletools`` does, faster, and what it does not."""

from __future__ import annotations

import builtins
import copyreg
import functools
import pickletools
from typing import TYPE_CHECKING, NamedTuple

from .. import _core

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["GlobalUse", "dis", "globals", "optimize"]

# dis() gives up beyond it: the lines of n marks inside one another have n**2 characters.
_LONGEST_TEXT = 1 << 30


@functools.cache
def _notes() -> list[str]:
    """What pickletools says of each opcode, by its byte, in the running Python's words."""
    notes = [""] * 256
    for opcode in pickletools.opcodes:
        notes[ord(opcode.code)] = opcode.doc.split("\n", 1)[0]
    return notes


def dis(data: Buffer, annotate: int = 0, *, indentlevel: int = 4) -> str:
    """The opcodes of a pickle, a line each: the text that ``pickletools.dis`` prints.

    `annotate`, if not 0, is the column from which on each line says what its opcode does.
    `indentlevel` is the indentation for each mark. Raises UnpicklingError where ``pickletools``
    raises ValueError, and LimitExceeded beyond 1 GiB of text; ``output`` of both is the text so
    far.
    """
    text, error = _core.dis(data, indentlevel, annotate, _notes() if annotate else (), _LONGEST_TEXT)
    if error is not None:
        error.output = text  # type: ignore[attr-defined]
        raise error
    return text


def optimize(data: Buffer) -> bytes:
    """The pickle without memo entries that nothing refers to: what ``pickletools.optimize``
    returns. Raises UnpicklingError."""
    return _core.optimize(data)


class GlobalUse(NamedTuple):
    """A place where a pickle has a global looked up."""

    module: str
    name: str
    offset: int
    """Bytes before the opcode."""
    opcode: str
    """GLOBAL, STACK_GLOBAL, INST, EXT1, EXT2 or EXT4."""
    extension: int = 0
    """The code of EXT1, EXT2 and EXT4. `module` and `name` are then what ``copyreg`` has
    registered here under that code, or empty."""


def globals(data: Buffer, *, fix_imports: bool = True) -> list[GlobalUse]:
    """Every global that loading the pickle would look up, in order.

    Whichever opcode does it, and wherever the names come from: the pickle is run on symbols. A
    name is reported as often as it is looked up, and as Python 3 calls it (`fix_imports`). A
    dotted name is several lookups in one.

    Raises UnpicklingError for what is not a pickle; its ``output`` is the list so far. Do not
    load that pickle: Python's unpickler may read it in another way.
    """
    found, error = _core.find_globals(data, fix_imports)
    registered: dict[int, tuple[str, str]] = getattr(copyreg, "_inverted_registry", {})
    uses: builtins.list[GlobalUse] = []
    for module, name, offset, opcode, code in found:
        if code:
            module, name = registered.get(code, ("", ""))
        uses.append(GlobalUse(module, name, offset, opcode, code))
    if error is not None:
        error.output = uses  # type: ignore[attr-defined]
        raise error
    return uses
