"""Writes pickles.txt, reprs.txt and large.txt: what CPython pickles, for the codec's tests.

    python make_golden.py --python OLDEST ... --python NEWEST

runs itself under each of these interpreters (Python 2.7, and 3.8 on). What several of them
write alike appears once, under the name of the first.

pickles.txt: a line is a vector: name, stream, buffers. The name is OBJECT:PYTHON:pPROTOCOL and
perhaps ":same", if CPython's dumps(loads(stream), protocol) is that stream again, and ":from5",
if dumps(loads(dumps(object, 5)), protocol) is. Stream and buffers are in base64 ("-" if empty);
an R before a buffer: it is read-only.

reprs.txt: OBJECT and Python's repr() of it, for objects of builtin types.

large.txt: OBJECT:pPROTOCOL, length and 64-bit FNV-1a hash of streams too large to keep. What the
objects are is said again, in C++, in golden_test.cc.
"""

from __future__ import print_function

import argparse
import array
import base64
import collections
import datetime
import decimal
import fractions
import os
import pickle
import subprocess
import sys
import types
import uuid

PYTHON2 = sys.version_info[0] == 2
HERE = os.path.dirname(os.path.abspath(__file__))

# The classes live in a module that no reader has.
garden = types.ModuleType("garden")
sys.modules["garden"] = garden


def in_garden(thing):
    thing.__module__ = "garden"
    if not PYTHON2:
        thing.__qualname__ = thing.__name__
    setattr(garden, thing.__name__, thing)
    return thing


@in_garden
class Plain(object):
    def __init__(self, **state):
        self.__dict__.update(state)


@in_garden
class Slotted(object):
    __slots__ = ("a", "b")


@in_garden
class MyList(list):
    pass


@in_garden
class MyDict(dict):
    pass


@in_garden
class KeywordNew(object):
    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (1, 2), {"k": 3}


@in_garden
def set_state(obj, state):
    obj.__dict__.update(state)


@in_garden
class WithSetter(object):
    def __reduce__(self):
        return WithSetter, (), {"x": 1}, None, None, set_state


@in_garden
class Holder(object):
    """Its argument holds it."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return Holder, (self.items,)


if PYTHON2:

    class OldStyle:
        def __init__(self, *args):
            self.args = args

    class OldStyleWithArgs(OldStyle):
        def __getinitargs__(self):
            return self.args

    in_garden(OldStyle)
    in_garden(OldStyleWithArgs)


def recursive_objects():
    items = []
    items.append(items)
    yield "recursive_list", items
    mapping = {}
    mapping["self"] = mapping
    yield "recursive_dict", mapping
    for size in (1, 2, 3, 5):
        items = []
        pair = (items,) + (0,) * (size - 1)
        items.append(pair)
        yield "recursive_tuple%d" % size, pair
    items = []
    holder = Holder(items)
    items.append(holder)
    yield "recursive_reduce", holder
    plain = Plain()
    plain.me = plain
    yield "recursive_state", plain


def builtin_objects():
    yield "none", None
    yield "bools", [True, False]
    edges = [0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**39, 2**63 - 1, 2**63, 2**64, 2**127]
    yield "ints", [sign * edge for edge in edges for sign in (1, -1)] + [-128, -129, -(2**39) - 1]
    yield "huge_ints", [2**2031, -(2**2032), 2**2040, 10**600]
    yield "floats", [0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308]
    yield "infinite", [float("inf"), float("-inf")]
    shared = u"shared"
    yield "strs", [u"", u"a", u"caf\u00e9", u"\u20ac", u"\U0001f600", u"\\ \n \r \0 \x1a", shared, shared]
    yield "long_strs", [u"x" * 255, u"y" * 256]
    yield "empty", [[], (), {}]
    yield "tuples", [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    inner = [1]
    yield "shared", [inner, inner, {"k": inner}, (inner, inner)]
    yield "dict1", {u"a": 1}
    yield "nested", {u"list": [1, [2, [3]]], u"tuple": (1, (2, (3,)))}
    yield "list1", [7]
    if PYTHON2:
        return
    for size in (999, 1000, 1001, 2000):
        yield "nones%d" % size, [None] * size
    yield "surrogate", "\ud800x"
    yield "bytes", [b"", b"a", b"\x00\xff", b"z" * 255, b"z" * 256]
    yield "bytearrays", [bytearray(), bytearray(b"abc")]
    yield "sets", [set(), {1}, frozenset(), frozenset([1])]
    yield "dict3", {"a": 1, 2: None, (1, "t"): b"v"}
    for size in (1000, 1001):
        yield "dict%d" % size, dict.fromkeys(range(size))
        yield "set%d" % size, set(range(size))


def other_objects():
    day = datetime.datetime(2020, 1, 2, 3, 4, 5, 6)
    yield "datetimes", [day, day.date(), day.time(), datetime.timedelta(1, 2, 3)]
    yield "decimal", decimal.Decimal("1.5")
    yield "fraction", fractions.Fraction(1, 3)
    yield "uuid", uuid.UUID(int=5)
    yield "ordered", collections.OrderedDict([(u"a", 1), (u"b", 2)])
    yield "default", collections.defaultdict(list, a=[1])
    yield "deque", collections.deque([1, 2, 3], 5)
    yield "deque1001", collections.deque([None] * 1001)
    yield "complex", 1 - 2j
    yield "array", array.array("i", [1, 2, 3])
    yield "globals", [len, dict, datetime.datetime, Plain, Plain, collections.OrderedDict]
    yield "plain", [Plain(x=1, y=u"two"), Plain(x=3)]
    slotted = Slotted()
    slotted.a = 1
    yield "slotted", slotted
    items = MyList([1, 2, 3])
    items.note = u"n"
    yield "list_subclass", items
    yield "dict_subclass", MyDict(a=1)
    yield "keyword_new", KeywordNew()
    if PYTHON2:
        yield "old_style", [OldStyle(1, u"b"), OldStyle()]
        yield "old_style_args", OldStyleWithArgs(1, 2)
        yield "str8", ["", "abc", "quote'", 'both\'"', "\n\t\x00\xff", "x" * 256]
        return
    yield "timezone", datetime.timezone(datetime.timedelta(hours=2))
    yield "setter", [WithSetter(), WithSetter()]
    yield "method", collections.OrderedDict.fromkeys
    yield "ranges", [range(3), slice(1, 2)]
    yield "ellipsis", [Ellipsis, NotImplemented, type(None)]


def array_objects():
    try:
        import numpy
    except ImportError:
        return
    yield "array_inband", numpy.arange(6, dtype="f4").reshape(2, 3)
    yield "array_fortran", numpy.asfortranarray(numpy.arange(6, dtype="i8").reshape(2, 3))
    yield "array_objects", numpy.array([1, "a"], dtype=object)
    yield "array_scalar", numpy.float32(1.5)
    yield "array_dtype", numpy.dtype([("a", "<i4"), ("b", "f8")])


def buffer_objects():
    yield "buffers", [pickle.PickleBuffer(b"abc"), pickle.PickleBuffer(bytearray(b"xyz"))]
    shared = pickle.PickleBuffer(b"twice")
    yield "buffer_twice", [shared, shared]
    yield "buffer_empty", pickle.PickleBuffer(b"")
    try:
        import numpy
    except ImportError:
        return
    frozen = numpy.arange(4, dtype="u1")
    frozen.flags.writeable = False
    yield "array_outofband", [numpy.arange(6, dtype="f4").reshape(2, 3), frozen]


def large_objects():
    yield "ints", list(range(20000)), range(6)
    yield "str65535", "a" * 65535, range(6)
    yield "str65536", ["b", "a" * 65536, "c"], range(6)
    yield "bytes65536", [b"b", b"a" * 65536, b"c", b"a" * 100], range(3, 6)
    yield "bytearray65536", [bytearray(65536), 1], (5,)
    yield "strs", ["item %d" % i for i in range(10000)], range(6)
    yield "dict", {i: -i for i in range(5000)}, range(1, 6)
    yield "text_then_large", ["a" * 60000, "b" * 60000, "c" * 70000, None], range(4, 6)
    deep = []
    for _ in range(300):
        deep = [deep]
    yield "deep", deep, range(6)


def encode(data):
    return base64.b64encode(data).decode("ascii") or "-"


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def same(stream, protocol):
    try:
        return pickle.dumps(pickle.loads(stream), protocol) == stream
    except Exception:
        return False


def emit_python2():
    import cPickle

    for module, label in ((pickle, "2.7"), (cPickle, "2.7c")):
        for objects in (builtin_objects, recursive_objects, other_objects):
            for name, obj in objects():
                for protocol in range(3):
                    try:
                        stream = module.dumps(obj, protocol)
                    except (TypeError, pickle.PicklingError):
                        continue
                    print("V %s:%s:p%d %s" % (name, label, protocol, encode(stream)))


def emit():
    version = "%d.%d" % sys.version_info[:2]
    for objects in (builtin_objects, recursive_objects, other_objects, array_objects):
        for name, obj in objects():
            for protocol in range(6):
                try:
                    stream = pickle.dumps(obj, protocol)
                except (TypeError, RecursionError):
                    continue
                full_name = "%s:%s:p%d" % (name, version, protocol)
                # 3.13 does not memoise a class in whose attribute it finds __new__.
                odd = name == "keyword_new" and protocol < 4 and sys.version_info >= (3, 13)
                if same(stream, protocol) and not odd:
                    full_name += ":same"
                # Objects of classes have another shape in protocols 0 and 1.
                classless = objects in (builtin_objects, recursive_objects)
                if classless and (name != "recursive_state" or protocol > 1):
                    if pickle.dumps(pickle.loads(pickle.dumps(obj, 5)), protocol) == stream:
                        full_name += ":from5"
                print("V", full_name, encode(stream))
            if objects is builtin_objects and len(repr(obj)) < 4000:
                print("R", name, base64.b64encode(repr(obj).encode("utf-8", "surrogatepass")).decode())
    for name, obj in buffer_objects():
        buffers = []
        stream = pickle.dumps(obj, 5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        shown = [("R" if view.readonly else "") + encode(bytes(view)) for view in views]
        print(" ".join(["V", "%s:%s:p5" % (name, version), encode(stream)] + shown))
        print("V", "%s_inband:%s:p5" % (name, version), encode(pickle.dumps(obj, 5)))
    for name, obj, protocols in large_objects():
        for protocol in protocols:
            try:
                stream = pickle.dumps(obj, protocol)
            except RuntimeError:
                continue
            print("L %s:p%d %d %016x" % (name, protocol, len(stream), fnv(stream)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", required=True)
    lines = []
    for python in parser.parse_args().python:
        environment = dict(os.environ, PYTHONHASHSEED="0", GOLDEN_WORKER="1")
        output = subprocess.check_output([python, "-W", "ignore", __file__], env=environment)
        lines += output.decode("ascii").splitlines()
    files = {"V": {}, "R": {}, "L": {}}
    for line in lines:
        kind, name, rest = line.split(" ", 2)
        if kind == "V":  # what two interpreters write alike is one vector
            parts = name.split(":")
            files[kind].setdefault((parts[0], parts[2], rest), name + " " + rest)
        else:
            files[kind].setdefault((name, rest), name + " " + rest)
    for kind, file_name in (("V", "pickles.txt"), ("R", "reprs.txt"), ("L", "large.txt")):
        with open(os.path.join(HERE, file_name), "w") as file:
            file.write("\n".join(files[kind].values()) + "\n")


if __name__ == "__main__":
    if not os.environ.get("GOLDEN_WORKER"):
        main()
    elif PYTHON2:
        emit_python2()
    else:
        emit()
