"""What stands for the parts of a pickle that only running it would make real."""

from __future__ import annotations

from reprlib import recursive_repr
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "Extension",
    "Global",
    "Instance",
    "NODE_CLASSES",
    "NewObj",
    "NewObjEx",
    "Node",
    "Part",
    "Persistent",
    "Reduce",
    "Str8",
]


class Part(NamedTuple):
    """Something that a pickle does to an object after making it.

    ========= ======================== ==========================
    ``kind``  what the unpickler does  ``values``
    ========= ======================== ==========================
    state     BUILD: sets the state    ``[state]``
    append    ``append``, ``extend``   the items
    setitem   ``object[key] = value``  ``(key, value)`` pairs
    add       ``add``                  the elements
    setter    ``setter(object, state)``  ``[setter, state]``
    ========= ======================== ==========================
    """

    kind: str
    values: list[Any]


class Node:
    """Base of the classes for what is not a builtin.

    ``parts`` is what the pickle does to the object afterwards, in that order.

    Two nodes are equal if they say the same. As dict keys and in sets they count by identity,
    as two objects of an unknown type must; only equal ``Global`` and ``Extension`` nodes are
    one key.
    """

    __slots__ = ("__weakref__", "parts")
    _fields: ClassVar[tuple[str, ...]] = ()

    parts: tuple[Part, ...]

    @property
    def state(self) -> Any:
        """The state that the object gets by BUILD or a state setter; the last one, if there are
        several, and None if there is none."""
        states = [part.values[-1] for part in self.parts if part.kind in ("state", "setter")]
        return states[-1] if states else None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in (*self._fields, "parts"))

    __hash__ = object.__hash__

    @recursive_repr()
    def __repr__(self) -> str:
        said = [repr(getattr(self, name)) for name in self._fields]
        said += [f"{kind}={values!r}" for kind, values in self.parts]
        return f"{type(self).__name__}({', '.join(said)})"


class Global(Node):
    """A class, function or whatever else is found as `name` in `module`. Not looked up."""

    __slots__ = ("module", "name")
    _fields = ("module", "name")

    module: str
    name: str

    def __init__(self, module: str, name: str, parts: tuple[Part, ...] = ()) -> None:
        self.module, self.name, self.parts = module, name, parts

    def __hash__(self) -> int:
        return hash((self.module, self.name))


class _Call(Node):
    __slots__ = ("args", "callee")
    _fields: ClassVar[tuple[str, ...]] = ("callee", "args")

    callee: Any
    args: Any

    def __init__(self, callee: Any, args: Any = (), parts: tuple[Part, ...] = ()) -> None:
        self.callee, self.args, self.parts = callee, args, parts


class Reduce(_Call):
    """What ``callee(*args)`` returns. Not called."""

    __slots__ = ()


class NewObj(_Call):
    """What ``callee.__new__(callee, *args)`` returns."""

    __slots__ = ()


class NewObjEx(_Call):
    """What ``callee.__new__(callee, *args, **kwargs)`` returns."""

    __slots__ = ("kwargs",)
    _fields = ("callee", "args", "kwargs")

    kwargs: Any

    def __init__(
        self, callee: Any, args: Any = (), kwargs: Any = None, parts: tuple[Part, ...] = ()
    ) -> None:
        super().__init__(callee, args, parts)
        self.kwargs = {} if kwargs is None else kwargs


class Instance(_Call):
    """An instance as Python 2 wrote those of classic classes: ``callee(*args)``, or made without
    a call if `args` is empty."""

    __slots__ = ()


class Persistent(Node):
    """What the program that loads the pickle knows under the persistent id `id`."""

    __slots__ = ("id",)
    _fields = ("id",)

    id: Any

    def __init__(self, id: Any, parts: tuple[Part, ...] = ()) -> None:
        self.id, self.parts = id, parts


class Extension(Node):
    """What the extension registry of ``copyreg`` has under `code`."""

    __slots__ = ("code",)
    _fields = ("code",)

    code: int

    def __init__(self, code: int, parts: tuple[Part, ...] = ()) -> None:
        self.code, self.parts = code, parts

    def __hash__(self) -> int:
        return hash(self.code)


class Str8(bytes):
    """An 8-bit string of Python 2, where ``decode(..., encoding=None)`` keeps it apart."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Str8({super().__repr__()})"


# In the order in which pannier._core wants them.
NODE_CLASSES = (
    Reduce,
    NewObj,
    NewObjEx,
    Instance,
    Persistent,
    Extension,
    Global,
    Part,
    Str8,
)
