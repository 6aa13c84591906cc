"""Writes arrays_numpy1.txt or arrays_numpy2.txt: NumPy arrays as NumPy itself pickles them.

    python make_arrays.py            # with NumPy 1.26, then with NumPy 2

A line is a vector: name, stream and buffers, separated by blanks; stream and buffers are
base64 ("-" if empty), a buffer that was read-only has "R" before it, which its length tells
from base64. The name says what was pickled: "DTYPE:SHAPE:ORDER:HOW", for example
">f8:2x3:F:p5out". The element at C index k of an array is value(k, dtype), which
golden_elements.h computes too. A few of the streams become seeds of array_fuzz.cc: the byte
before a stream is its choice of out-of-band buffers, which have 48 bytes then.
"""

import array
import base64
import datetime
import pathlib
import pickle

import numpy as np

CODES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 g c8 c16 G".split()
SHAPES = [(), (1,), (5,), (0,), (2, 3), (0, 3), (3, 1), (2, 3, 4), (1, 2, 1, 3)]


def value(k, dtype):
    if dtype.kind == "b":
        return k % 3 == 1
    if dtype.kind == "u":
        return 7 * k + 1
    if dtype.kind == "i":
        return 7 * k - 20
    if dtype.kind == "f":
        return k * 0.5 - 3
    return complex(k * 0.5 - 3, 2 - k)


def filled(dtype, shape, order):
    dtype = np.dtype(dtype)
    values = [value(k, dtype) for k in range(int(np.prod(shape)))]
    return np.array(values, dtype).reshape(shape).copy(order)


def pickles(obj, first=2):
    for protocol in range(first, 6):
        yield f"p{protocol}", pickle.dumps(obj, protocol), []
    buffers = []
    yield "p5out", pickle.dumps(obj, 5, buffer_callback=buffers.append), buffers


def name_of(dtype):
    return np.dtype(dtype).str


def vectors():
    def of(name, obj, first=2):
        for how, stream, buffers in pickles(obj, first):
            yield f"{name}:{how}", stream, [(b.raw().tobytes(), b.raw().readonly) for b in buffers]

    for code in CODES:
        for order in "CF":
            yield from of(f"{name_of(code)}:2x3:{order}", filled(code, (2, 3), order))
    for code in ["f4", "i8"]:
        for shape in SHAPES:
            for order in "CF" if len(shape) > 1 else "C":
                if shape != (2, 3):
                    name = "x".join(map(str, shape))
                    yield from of(f"{name_of(code)}:{name}:{order}", filled(code, shape, order))
    for code in [">f8", ">i2", ">c16", ">u4"]:
        yield from of(f"{code}:2x3:C", filled(code, (2, 3), "C"))
    strided = np.zeros((4, 6))
    strided[::2, ::2] = filled("f8", (2, 3), "C")
    yield from of("<f8:2x3:strided", strided[::2, ::2])
    middle = filled("f8", (2, 3, 4), "C")
    middle_first = np.ascontiguousarray(middle.transpose(1, 0, 2))
    yield from of("<f8:2x3x4:permuted", middle_first.transpose(1, 0, 2))
    readonly = filled("f8", (2, 3), "C")
    readonly.flags.writeable = False
    yield from of("<f8:2x3:readonly", readonly)
    for code in CODES + [">f8", ">i4"]:
        yield from of(f"{name_of(code)}::scalar", np.dtype(code).type(value(9, np.dtype(code))))
    for code in "bBhHiIlLqQfd":
        items = [value(k, np.dtype(code)) for k in range(5)]
        yield from of(f"{name_of(code)}:5:array", array.array(code, items), first=3)
    yield from of("object::refused", np.array([1, "a", None], object))
    yield from of("datetime64::refused", np.array([datetime.datetime(2024, 1, 2)], "M8[us]"))
    yield from of("structured::refused", np.zeros(2, [("x", "i4"), ("y", "f8")]))
    yield from of("text::refused", np.array(["abc", "de"]))
    yield from of("matrix::refused", np.matrix([[1.0, 2.0]]))


def base64_text(data):
    return base64.b64encode(data).decode() or "-"


SEEDS = ("<f8:2x3:", "<f8:5:array", "<i4:2x3:C", "|b1:2x3:F", "<f8::scalar", ">f8:2x3", "matrix")


def write_seed(folder, name, stream):
    if name.startswith(SEEDS) and name.endswith((":p2", ":p3", ":p5", ":p5out")):
        folder.mkdir(parents=True, exist_ok=True)
        file_name = name.translate(str.maketrans({"<": "", ">": "big_", "|": "", ":": "_"}))
        (folder / file_name).write_bytes(bytes([48]) + stream)


def main():
    major = np.__version__.split(".")[0]
    out = pathlib.Path(__file__).with_name(f"arrays_numpy{major}.txt")
    with out.open("w") as file:
        for name, stream, buffers in vectors():
            words = [name, base64_text(stream)]
            words += [("R" if readonly else "") + base64_text(data) for data, readonly in buffers]
            print(*words, file=file)
            write_seed(out.parents[1] / f"array_corpus/numpy{major}", name, stream)


if __name__ == "__main__":
    main()
