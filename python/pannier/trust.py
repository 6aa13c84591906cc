"""What may be unpickled, and from whom.

A pickle can name any function of any module and have it called. From a process of the same
user, which the kernel attests on the link, everything is accepted, as ``multiprocessing`` does.
From any other peer only the safe set is: types that hold data, and the functions that build
them. A program extends it by exact names, with ``allow=``.
"""

from __future__ import annotations

import _compat_pickle
import importlib
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ForbiddenGlobal

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Loads = Callable[[Buffer, Sequence[Buffer]], Any]

# What `allow=` takes: names, or the type or function itself.
Allow = Iterable["tuple[str, str] | type | Callable[..., Any]"]

__all__ = ["Allow", "SAFE_SET", "SafeLoads", "is_safe", "loads_everything", "loads_for", "names_of"]

# (module, name) of what is data, or builds data of its arguments alone. The list is in C++,
# codec/allow_list.cc.
SAFE_SET = frozenset(_core.safe_set())


def _names_today(module: str, name: str) -> Iterator[tuple[str, str]]:
    """By what names a global may be known: the unpickler's find_class is told those of the
    stream, which may be Python 2's."""
    yield module, name
    yield _compat_pickle.NAME_MAPPING.get((module, name), ("", ""))
    yield _compat_pickle.IMPORT_MAPPING.get(module, ""), name


def is_safe(module: str, name: str) -> bool:
    """Whether a name is in the safe set, as Python and NumPy call it today or did before."""
    return any(key in SAFE_SET for key in _names_today(module, name))


def names_of(allow: Allow) -> dict[tuple[str, str], Any]:
    """`allow` by exact name; the value is the object, or None where it is yet to be imported.

    Raises ValueError for names with dots in them, TypeError for what has no name.
    """
    allowed: dict[tuple[str, str], Any] = {}
    for item in allow:
        if isinstance(item, tuple):
            if len(item) != 2 or not all(isinstance(part, str) for part in item):
                raise TypeError(f"allow: expected (module, name), got {item!r}")
            module, name = item
            value: Any = None
        else:
            module = getattr(item, "__module__", "")
            name = getattr(item, "__qualname__", "")
            value = item
            if not module or not name:
                raise TypeError(f"allow: {item!r} is neither (module, name), type nor function")
        if "." in name:
            raise ValueError(f"allow: {module}.{name} is not at the top of its module")
        allowed[module, name] = value
    return allowed


def _import(module: str, name: str) -> Any:
    if module.startswith(("numpy.core.", "numpy._core.")):  # the latter since NumPy 2
        module = module.replace("numpy.core.", "numpy._core.")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            module = module.replace("numpy._core.", "numpy.core.")
    return getattr(importlib.import_module(module), name)


class _SafeUnpickler(pickle.Unpickler):
    # A slot and not a method: an exception's traceback would keep the unpickler, with all
    # buffers, through the method's `self`.
    __slots__ = ("find_class",)


class SafeLoads:
    """Unpickles what somebody sent who is not trusted. `context` begins its errors."""

    def __init__(self, allowed: dict[tuple[str, str], Any], context: str) -> None:
        self._found = dict(allowed)
        self._names = _core.SafeNames(list(allowed))
        self._context = context

    def __call__(
        self,
        stream: Buffer,
        buffers: Iterable[Buffer] | None,
        *,
        encoding: str = "ascii",
        errors: str = "strict",
        fix_imports: bool = True,
        limits: dict[str, int] | None = None,
    ) -> Any:
        """`encoding`, `errors` and `limits` are as pannier._core knows them."""
        # Bytes of our own, and the same buffers twice: what is loaded is what was checked.
        if type(stream) is not bytes:
            stream = memoryview(stream).cast("B").tobytes()
        buffers = None if buffers is None else tuple(buffers)
        try:
            self._names.check(
                stream, buffers, encoding, errors, fix_imports, limits, self._context
            )
            unpickler = _SafeUnpickler(
                io.BytesIO(stream),
                buffers=buffers,
                encoding=encoding,
                errors=errors,
                fix_imports=fix_imports,
            )
            unpickler.find_class = self._find  # type: ignore[method-assign]
            return unpickler.load()
        finally:
            del stream, buffers  # an exception's traceback keeps this frame
            unpickler = None  # type: ignore[assignment]

    def _find(self, module: str, name: str) -> Any:
        for key in _names_today(module, name):
            if key in self._found or key in SAFE_SET:
                break
        else:
            # The check before lets none through; this gate does not rely on it.
            raise ForbiddenGlobal(f"{self._context}: the pickle names {(module, name)}")
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _import(*key)
        return found


def loads_everything(stream: Buffer, buffers: Iterable[Buffer]) -> Any:
    """Unpickles what somebody sent who is trusted."""
    try:
        return pickle.loads(stream, buffers=buffers)
    finally:
        del stream, buffers  # an exception's traceback keeps this frame


def loads_for(same_user: bool, peer: str, allowed: dict[tuple[str, str], Any]) -> Loads:
    """What unpickles the messages of a peer."""
    return loads_everything if same_user else SafeLoads(allowed, f"{peer} is not trusted")
