"""Streams that the C++ codec wrote, loaded by pickle: tests/codec/golden/dumps.txt.

A line is a name, a stream and its buffers; the names of arrays are "DTYPE:SHAPE:ORDER:HOW".
tests/codec/dumps_golden_test.cc checks that the codec still writes these bytes.
"""

import base64
import datetime
import pathlib
import pickle
import sys
import types
import warnings

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "codec" / "golden"

geometry = types.ModuleType("geometry")


class Point:
    def __init__(self):
        raise AssertionError("no __init__ runs when an object is unpickled")


class Frozen:
    __slots__ = ("x", "y")

    def __setstate__(self, state):
        self.x, self.y = state


for cls in Point, Frozen:
    cls.__module__ = "geometry"
    setattr(geometry, cls.__name__, cls)


def decode(word):
    return b"" if word == "-" else base64.b64decode(word)


def buffer(word):
    """Base64, after an R if the buffer is read-only."""
    if word.startswith("R") and len(word) % 4:
        return decode(word[1:])
    return bytearray(decode(word))


def vectors():
    for line in (GOLDEN / "dumps.txt").read_text().splitlines():
        name, *words = line.split()
        name, _, how = name.rpartition(":")
        yield name, how, decode(words[0]), [buffer(word) for word in words[1:]]


def element(k, dtype):
    if dtype.kind == "b":
        return k % 3 == 1
    if dtype.kind in "ui":
        return 7 * k + (1 if dtype.kind == "u" else -20)
    return k * 0.5 - 3 if dtype.kind == "f" else complex(k * 0.5 - 3, 2 - k)


def filled(dtype, shape):
    items = [element(k, dtype) for k in range(int(np.prod(shape)))]
    return np.array(items, dtype).reshape(shape)


def check_array(name, how, array):
    code, extents, order = name.split(":")
    expected = filled(np.dtype(code), tuple(int(n) for n in extents.split("x") if n))
    assert type(array) is np.ndarray and array.dtype == expected.dtype
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array, expected)
    assert array.flags.writeable and array.flags.aligned
    assert array.flags.f_contiguous if order == "F" else array.flags.c_contiguous


def check_part(name, how, array):
    part = filled(np.dtype("f4"), (4, 2, 3))
    if name == "gaps":
        expected = part[:, 0]
    else:
        expected = part.transpose(1, 0, 2)
        assert how < "p5" or array.strides == expected.strides
    np.testing.assert_array_equal(array, expected)
    # Protocols below 5 have no read-only arrays.
    assert array.flags.writeable == (name != "readonly" or how < "p5")


def check_other(name, obj):
    utc = datetime.timezone.utc
    noon = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, utc)
    expected = {
        "numbers": (True, -1, 2**63, 1.5, 1 - 2j),
        "nothing": None,
        "text": "Z\u00fcrich",
        "bytes": b"\0\xff",
        "containers": ([1, 2], (1, "a"), {"k": 1}, {7}, [1.5], ()),
        "times": [noon, noon],
        "naive": datetime.datetime(1969, 12, 31, 0, 0, 0, 1000),
        "date": datetime.date(2024, 2, 29),
        "time": datetime.time(23, 0, 1),
        "timedelta": datetime.timedelta(microseconds=-2),
    }[name]
    assert obj == expected and type(obj) is type(expected)
    if name == "times":
        assert obj[0].tzinfo is obj[1].tzinfo is utc


def check(name, how, obj):
    if ":" in name:
        check_array(name, how, obj)
    elif name in ("permuted", "gaps", "readonly"):
        check_part(name, how, obj)
    elif name == "point":
        assert [type(point) for point in obj] == [Point, Point]
        assert [vars(point) for point in obj] == [{"x": 1.5, "label": "here"}] * 2
    elif name == "frozen":
        assert type(obj) is Frozen and obj.x == 1 and obj.y.tolist() == [2, 3]
    else:
        check_other(name, obj)


def test_python_loads_what_cpp_wrote(monkeypatch):
    monkeypatch.setitem(sys.modules, "geometry", geometry)
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a deprecated name is a failure
        for name, how, stream, buffers in vectors():
            obj = pickle.loads(stream, buffers=buffers)
            try:
                check(name, how, obj)
            except AssertionError as error:
                raise AssertionError(f"{name}:{how}: {error}") from error
            if isinstance(obj, np.ndarray) and obj.size and buffers:
                assert np.shares_memory(obj, np.frombuffer(buffers[0], np.uint8))
            count += 1
    assert count > 200
