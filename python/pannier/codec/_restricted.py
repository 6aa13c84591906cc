"""The restricted unpickler: pickles of data, from anybody."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..trust import Allow, SafeLoads, names_of
from ._document import Limits, encoding_name, errors_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["loads"]

_CONTEXT = "codec.loads"
_data_alone = SafeLoads({}, _CONTEXT)


def loads(
    data: Buffer,
    *,
    allow: Allow = (),
    buffers: Iterable[Buffer] | None = None,
    encoding: str = "ASCII",
    errors: str = "strict",
    fix_imports: bool = True,
    limits: Limits | None = None,
) -> Any:
    """Loads a pickle that may come from anybody, as far as it holds data.

    Accepts the safe set: builtin containers and numbers, NumPy's arrays, dtypes and scalars,
    ``array``, ``datetime``, ``decimal``, ``fractions``, ``uuid``, ``collections``, used as pickles
    of these types use them; and what `allow` adds, by exact name: ``("module", "name")``, or the
    type or function itself. What is done with those is not looked at: allow nothing whose call,
    ``__setstate__`` or ``__setitem__`` does more than it should for a stranger.

    The pickle is decoded first, which runs nothing, and checked whole, also what its result does
    not reach; then CPython's unpickler loads it. ``bytes`` are not copied, other bytes are, so
    that what is loaded is what was checked.

    Raises ForbiddenGlobal, which says what was named or misused, and where; UnpicklingError;
    LimitExceeded for a pickle made to take more time or memory than one of its length should, or
    more than `limits`.
    """
    load = SafeLoads(names_of(allow), _CONTEXT) if allow else _data_alone
    return load(
        data,
        buffers,
        encoding=encoding_name(encoding),
        errors=errors_name(errors),
        fix_imports=fix_imports,
        limits=None if limits is None else dataclasses.asdict(limits),
    )
