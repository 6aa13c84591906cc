"""What may be unpickled, and from whom.

A pickle can name any function of any module and have it called. From a process of the same
user, which the kernel attests on the link, everything is accepted, as ``multiprocessing`` does.
From any other peer only the safe set is: types that hold data, and the functions that build
them. A program extends it by exact names, with ``allow=``.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ForbiddenGlobal

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Loads = Callable[[Buffer, Sequence[Buffer]], Any]

# What `allow=` takes: names, or the type or function itself.
Allow = Iterable["tuple[str, str] | type | Callable[..., Any]"]

__all__ = ["Allow", "SAFE_SET", "loads_for", "names_of"]

_NUMPY_SCALARS = (
    "bool bool_ int8 int16 int32 int64 longlong uint8 uint16 uint32 uint64 ulonglong float16 "
    "float32 float64 longdouble complex64 complex128 clongdouble bytes_ str_ void datetime64 "
    "timedelta64"
)

# Module to names. All are data or build data of their arguments alone.
_SAFE = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set "
    "slice str tuple",
    "_codecs": "encode",
    "array": "_array_reconstructor array",
    "collections": "Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "numpy": f"dtype ndarray {_NUMPY_SCALARS}",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
}

SAFE_SET = frozenset((module, name) for module, names in _SAFE.items() for name in names.split())

# Names of older pickles, as modules are called today.
_RENAMED = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}

_SAFE_NAMES = [
    *SAFE_SET,
    *((old, name) for old, new in _RENAMED.items() for module, name in SAFE_SET if module == new),
]


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
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:  # NumPy 1 has numpy.core alone
        if not module.startswith("numpy._core."):
            raise
        return getattr(importlib.import_module(module.replace("._core.", ".core.")), name)


class _SafeUnpickler(pickle.Unpickler):
    # A slot and not a method: an exception's traceback would keep the unpickler, with all
    # buffers, through the method's `self`.
    __slots__ = ("find_class",)


class _SafeLoads:
    """Unpickles what an untrusted peer sent."""

    def __init__(self, allowed: dict[tuple[str, str], Any], peer: str) -> None:
        self._found = dict(allowed)
        self._names = _core.SafeNames(_SAFE_NAMES, list(allowed))
        self._peer = peer

    def __call__(self, stream: Buffer, buffers: Sequence[Buffer]) -> Any:
        try:
            self._names.check(stream, buffers, self._peer)
            return self._unpickler(stream, buffers).load()
        finally:
            del stream, buffers  # an exception's traceback keeps this frame

    def _unpickler(self, stream: Buffer, buffers: Sequence[Buffer]) -> _SafeUnpickler:
        unpickler = _SafeUnpickler(io.BytesIO(stream), buffers=buffers)
        unpickler.find_class = self._find  # type: ignore[method-assign]
        return unpickler

    def _find(self, module: str, name: str) -> Any:
        key = (module, name)
        if key not in self._found:
            key = (_RENAMED.get(module, module), "range" if name == "xrange" else name)
            if key not in self._found and key not in SAFE_SET:
                # The check before lets none through; this gate does not rely on it.
                raise ForbiddenGlobal(f"{self._peer} is not trusted: its pickle names {key}")
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _import(*key)
        return found


def _load_everything(stream: Buffer, buffers: Iterable[Buffer]) -> Any:
    try:
        return pickle.loads(stream, buffers=buffers)
    finally:
        del stream, buffers  # an exception's traceback keeps this frame


def loads_for(same_user: bool, peer: str, allowed: dict[tuple[str, str], Any]) -> Loads:
    """What unpickles the messages of a peer."""
    return _load_everything if same_user else _SafeLoads(allowed, peer)
