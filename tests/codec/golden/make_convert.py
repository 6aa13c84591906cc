"""Writes convert.txt: Python objects that C++ types stand for, in every protocol.

    python make_convert.py OLDEST_PYTHON ... NEWEST_PYTHON

runs itself under each of these interpreters; the lines are those of make_arrays.py, the name is
"OBJECT:PYTHON:PROTOCOL". Streams that several interpreters write alike appear once. What the
objects are is said again, in C++, in convert_golden_test.cc.
"""

import base64
import collections
import datetime
import enum
import os
import pickle
import subprocess
import sys
import types

UTC = datetime.timezone.utc
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "IST")

# The classes live in a module that no reader has.
geometry = types.ModuleType("geometry")
sys.modules["geometry"] = geometry


def in_geometry(cls):
    cls.__module__ = "geometry"
    cls.__qualname__ = cls.__name__
    setattr(geometry, cls.__name__, cls)
    return cls


@in_geometry
class Point:
    def __init__(self, x, y, label=None):
        self.x, self.y = x, y
        if label is not None:
            self.label = label


@in_geometry
class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


@in_geometry
class Colour(enum.Enum):
    RED = 1
    BLUE = -300


Pair = in_geometry(collections.namedtuple("Pair", "x y"))


def objects():
    yield "none", None
    yield "ints", [0, -1, 255, 65535, -(2**31), 2**31, -(2**63), 2**63 - 1]
    yield "uint64", [2**63, 2**64 - 1]
    yield "huge", 2**100
    yield "floats", [0.0, -1.5, 1e300, float("inf"), 7]
    yield "complex", [1.5 - 2j, 3j]
    yield "text", ["", "plain", "Z\u00fcrich \u20ac \U0001f600", "line\nend\\"]
    yield "bytes", [b"", b"abc", bytes(range(256))]
    yield "bytearrays", [bytearray(), bytearray(b"abc"), bytearray(range(256))]
    yield "tuples", [(), (1,), (1, "a"), (1, (2, 3)), (1, 2, 3, 4, 5)]
    yield "map", {"a": 1, "b": 2}
    yield "ordered", collections.OrderedDict([("b", 2), ("a", 1)])
    yield "default", collections.defaultdict(int, {"a": 1, "b": 2})
    yield "counter", collections.Counter("abb")
    yield "empty_maps", [{}, collections.OrderedDict(), collections.Counter()]
    yield "sets", [set(), {5}, frozenset(), frozenset([7])]
    yield "deque", collections.deque([1, 2, 3])
    yield "bounded_deque", collections.deque([1, 2, 3], 3)
    yield "empty_deque", collections.deque()
    yield "aware", datetime.datetime(2024, 2, 29, 23, 59, 58, 987654, UTC)
    yield "east", datetime.datetime(1969, 12, 31, 3, 0, 0, 1, EAST)
    yield "naive", datetime.datetime(2024, 2, 29, 23, 59, 58, 987654)
    yield "fold", datetime.datetime(2024, 10, 27, 2, 30, fold=1)
    yield "first", datetime.datetime(1, 1, 1)
    yield "last", datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)
    yield "date", datetime.date(2000, 1, 31)
    yield "time", datetime.time(23, 59, 58, 1)
    yield "time_fold", datetime.time(1, 2, 3, fold=1)
    yield "time_aware", datetime.time(1, 2, 3, tzinfo=UTC)
    yield "timedelta", datetime.timedelta(days=-1, microseconds=1)
    yield "longest", datetime.timedelta.max
    yield "shortest", datetime.timedelta.min
    yield "point", Point(1.5, -2)
    yield "labelled", Point(1.5, -2, "here")
    yield "points", [Point(i, i) for i in range(3)]
    yield "pair", Pair(3, 4.5)
    yield "enum", [Colour.RED, Colour.BLUE, Colour.RED]
    if sys.version_info >= (3, 10):
        import dataclasses

        @in_geometry
        @dataclasses.dataclass(frozen=True, slots=True)
        class Frozen:
            x: float
            y: float

        yield "frozen", Frozen(1.5, -2)
    yield "slotted", Slotted(1.5, -2)


def lines():
    version = "%d.%d" % sys.version_info[:2]
    for name, obj in objects():
        for protocol in range(6):
            if name == "slotted" and protocol < 2:
                continue  # cannot be pickled
            stream = base64.b64encode(pickle.dumps(obj, protocol)).decode()
            yield name, version, protocol, stream


def main():
    if sys.argv[1:] == ["--lines"]:
        for name, version, protocol, stream in lines():
            print(name, version, protocol, stream)
        return
    seen = set()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "convert.txt")
    with open(path, "w") as out:
        for python in sys.argv[1:]:
            command = [python, __file__, "--lines"]
            for line in subprocess.check_output(command, text=True).splitlines():
                name, version, protocol, stream = line.split()
                if (name, protocol, stream) not in seen:
                    seen.add((name, protocol, stream))
                    print("%s:%s:p%s" % (name, version, protocol), stream, file=out)


if __name__ == "__main__":
    main()
