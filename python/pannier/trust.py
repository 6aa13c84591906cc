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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .errors import ForbiddenGlobal

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Loads = Callable[[Buffer, Iterable[Buffer]], Any]

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


def names_of(allow: Allow) -> dict[tuple[str, str], Any]:
    """`allow` by exact name; the value is the object, or None where it is yet to be imported.

    Raises ValueError for names with dots in them, TypeError for what has no name.
    """
    allowed: dict[tuple[str, str], Any] = {}
    for item in allow:
        if isinstance(item, tuple):
            if len(item) != 2 or not all(isinstance(part, str) for part in item):
                raise TypeError(f"allow: expected (module, name), got {item!r}")
            (module, name), value = item, None
        else:
            module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
            value = item
            if not isinstance(module, str) or not isinstance(name, str):
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
    def __init__(self, stream: Buffer, buffers: Iterable[Buffer], owner: _SafeLoads) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._owner = owner

    def find_class(self, module: str, name: str) -> Any:
        return self._owner.find(module, name)


class _SafeLoads:
    def __init__(self, allowed: dict[tuple[str, str], Any], peer: str) -> None:
        self._found = dict(allowed)
        self._peer = peer

    def __call__(self, stream: Buffer, buffers: Iterable[Buffer]) -> Any:
        return _SafeUnpickler(stream, buffers, self).load()

    def find(self, module: str, name: str) -> Any:
        key = (module, name)
        if key not in self._found:
            key = (_RENAMED.get(module, module), name)
            if key not in self._found and key not in SAFE_SET:
                raise ForbiddenGlobal(
                    f"{self._peer} is not trusted, and its pickle names {module}.{name}, which is "
                    f"outside the safe set; to accept it, pass allow=[({module!r}, {name!r})]"
                )
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _import(*key)
        return found


def _load_everything(stream: Buffer, buffers: Iterable[Buffer]) -> Any:
    return pickle.loads(stream, buffers=buffers)


def loads_for(same_user: bool, peer: str, allowed: dict[tuple[str, str], Any]) -> Loads:
    """What unpickles the messages of a peer."""
    return _load_everything if same_user else _SafeLoads(allowed, peer)
