"""What a pickle holds, as lines of a tree and as a graph for JSON. Nothing recurses: a pickle may
be nested a million deep."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .. import codec
from .output import Segment

__all__ = ["AbsentBuffer", "Limits", "graph", "lines"]


class AbsentBuffer(bytearray):
    """Stands for a buffer that is out of band, and not at hand."""


class Limits(NamedTuple):
    """What of a tree is shown; 0: all."""

    depth: int
    items: int
    width: int


# A child of a value: what leads to it, and it.
Child = tuple[list[Segment], Any]


def _plain(text: str) -> list[Segment]:
    return [(text, "mark")]


class _Tree:
    def __init__(self, absent: Sequence[AbsentBuffer], limits: Limits) -> None:
        self._absent = {id(buffer): number for number, buffer in enumerate(absent)}
        self._limits = limits
        # By id(): objects that are met more than once. Their numbers are given as they are
        # shown; 0 until then.
        self._labels: dict[int, int] = {}
        self._count = 0

    def holds(self, value: Any) -> bool:
        """Whether a value is shown with children."""
        if isinstance(value, codec.Global):
            return bool(value.parts)
        return isinstance(value, (codec.Node, list, tuple, dict, set, frozenset)) and value != ()

    def children(self, value: Any, most: int | None = None) -> Iterator[Child]:
        """What lies directly in a value that holds something; of a container, the first `most`."""
        if isinstance(value, dict):
            for key, item in islice(value.items(), most):
                if self.holds(key):
                    yield _plain("key: "), key
                    yield _plain("value: "), item
                else:
                    yield [*self.leaf(key), (": ", "")], item
        elif isinstance(value, codec.Node):
            for field in type(value)._fields:
                child = getattr(value, field)
                if not isinstance(value, codec.Global) and (field == "callee" or child != ()):
                    yield _plain(f"{field}: "), child
            for part in value.parts:
                for item in part.values:
                    if part.kind == "setitem":
                        yield _plain("setitem key: "), item[0]
                        yield _plain("setitem value: "), item[1]
                    else:
                        yield _plain(f"{part.kind}: "), item
        else:
            for item in islice(value, most):
                yield [], item

    def count(self, value: Any) -> str:
        return "" if isinstance(value, codec.Node) else f" of {len(value)}"

    def title(self, value: Any) -> list[Segment]:
        if isinstance(value, codec.Global):
            return self.leaf(value)
        return [(type(value).__name__, "kind"), (self.count(value), "mark")]

    def leaf(self, value: Any) -> list[Segment]:
        if isinstance(value, AbsentBuffer):
            return [(f"buffer {self._absent.get(id(value), '')}, out of band", "kind")]
        if isinstance(value, memoryview):
            number = self._absent.get(id(value.obj))
            return [("buffer, read-only" if number is None else f"buffer {number}, read-only", "kind")]
        if isinstance(value, codec.Global):
            name = f"{value.module}.{value.name}"
            return [(name if name.isprintable() else repr(name), "name")]
        text, rest = self._text(value)
        style = "text" if isinstance(value, (str, bytes, bytearray)) else "number"
        return [(text, style), (rest, "mark")] if rest else [(text, style)]

    def _text(self, value: Any) -> tuple[str, str]:
        """A scalar's repr, cut, and what was cut off in words."""
        width = self._limits.width
        if width and isinstance(value, (str, bytes, bytearray)) and len(value) > width:
            return repr(value[:width]), f"... of {len(value)}"
        if isinstance(value, int) and value.bit_length() > 10_000:  # beyond what str() converts
            return hex(value)[: width or None], f"... of {value.bit_length()} bits"
        text = repr(value)
        return (text[:width], "...") if width and len(text) > width else (text, "")

    def find_shared(self, root: Any) -> None:
        """Notes what is met more than once."""
        seen: set[int] = set()
        pending = [root]
        while pending:
            value = pending.pop()
            if not self.holds(value):
                continue
            if id(value) in seen:
                self._labels[id(value)] = 0
                continue
            seen.add(id(value))
            pending += [child for _, child in self.children(value)]

    def lines(self, root: Any) -> Iterator[list[Segment]]:
        shown: set[int] = set()
        # What is open: the children that are left, the indentation, how many are left out.
        stack: list[tuple[Iterator[Child], str, int]] = []

        def enter(value: Any, indent: str) -> list[Segment]:
            """The line of a value, without its indentation; its children are next."""
            if not self.holds(value):
                return self.leaf(value)
            mark: list[Segment] = []
            if id(value) in self._labels:
                if id(value) not in shown:
                    self._count += 1
                    self._labels[id(value)] = self._count
                mark = [(f" #{self._labels[id(value)]}", "name")]
            if id(value) in shown:
                return [("see", "mark"), *mark]
            shown.add(id(value))
            if self._limits.depth and len(stack) >= self._limits.depth:
                return [*self.title(value), *mark, (" ...", "mark")]
            most, left_out = self._limits.items or None, 0
            if most is not None and not isinstance(value, codec.Node):
                left_out = max(0, len(value) - most)
            stack.append((self.children(value, most), indent, left_out))
            return [*self.title(value), *mark]

        yield enter(root, "")
        while stack:
            children, indent, left_out = stack[-1]
            child = next(children, None)
            if child is not None:
                lead, value = child
                yield [(indent + "  ", ""), *lead, *enter(value, indent + "  ")]
                continue
            stack.pop()
            if left_out:
                yield [(indent + "  ", ""), (f"... and {left_out} more", "mark")]


def lines(value: Any, absent: Sequence[AbsentBuffer], limits: Limits) -> Iterator[list[Segment]]:
    """The tree, a line for each value. What is met more than once has a number, and is shown
    the first time."""
    tree = _Tree(absent, limits)
    tree.find_shared(value)
    return tree.lines(value)


def _number(value: float) -> Any:
    if isinstance(value, int) and abs(value) >= 1 << 53:
        return {"int": hex(value)}
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return {"float": repr(value)}
    return value


def graph(root: Any, absent: Sequence[AbsentBuffer]) -> dict[str, Any]:
    """The value for JSON: {"root": VALUE, "nodes": [NODE, ...]}.

    None, bool, str, and numbers that JSON has are themselves; {"ref": n} is nodes[n]; other
    scalars are {"int": hexadecimal}, {"float": text}, {"bytes": base64}, {"bytearray": base64},
    {"str8": base64}, {"buffer": number}.
    """
    numbers = {id(buffer): number for number, buffer in enumerate(absent)}
    nodes: list[dict[str, Any]] = []
    refs: dict[int, int] = {}
    pending: list[Any] = []

    def of(value: Any) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float)):
            return _number(value)
        if isinstance(value, memoryview):
            return {"buffer": numbers.get(id(value.obj)), "readonly": True}
        if isinstance(value, AbsentBuffer):
            return {"buffer": numbers[id(value)]}
        if isinstance(value, (bytes, bytearray)):
            return {type(value).__name__.lower(): base64.b64encode(value).decode()}
        if id(value) not in refs:
            refs[id(value)] = len(nodes)
            nodes.append({"kind": type(value).__name__})
            pending.append(value)
        return {"ref": refs[id(value)]}

    result = {"root": of(root), "nodes": nodes}
    while pending:
        value = pending.pop()
        node = nodes[refs[id(value)]]
        if isinstance(value, dict):
            node["items"] = [[of(key), of(item)] for key, item in value.items()]
        elif isinstance(value, codec.Node):
            for field in type(value)._fields:
                node[field] = of(getattr(value, field))
            if value.parts:
                node["parts"] = [_part(part, of) for part in value.parts]
        else:
            node["items"] = [of(item) for item in value]
    return result


def _part(part: codec.Part, of: Callable[[Any], Any]) -> dict[str, Any]:
    if part.kind == "setitem":
        return {"kind": part.kind, "values": [[of(key), of(value)] for key, value in part.values]}
    return {"kind": part.kind, "values": [of(value) for value in part.values]}
