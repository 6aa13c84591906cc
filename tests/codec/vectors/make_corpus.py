"""Writes corpus.txt: streams of our own, each with the verdict of CPython's unpickler.

    python3.13 make_corpus.py > corpus.txt

A line is `accepted` or `refused`, and the stream in base64. What is looked up while judging is a
stand-in that takes everything (gather.py). 3.8 to 3.13 write the same file.
"""

import base64
import collections
import datetime
import pickle
import pickletools
import random
import sys

import gather

SCALARS = [b"N", b"\x88", b"I01\n", b"I5\n", b"K\x01", b"M\x01\x02", b"J\xff\xff\xff\xff", b"L7L\n", b"L7\n",
           b"\x8a\x00", b"\x8a\x01\xff", b"\x8b\x01\x00\x00\x00\x80", b"F1.5\n", b"G?\xf8\0\0\0\0\0\0",
           b"S'a'\n", b'S"b"\n', b"U\x01a", b"T\x01\0\0\0a", b"Va\n", b"V\\u20ac\n", b"\x8c\x01a",
           b"X\x01\0\0\0a", b"\x8d\x01\0\0\0\0\0\0\0a", b"C\x01a", b"B\x01\0\0\0a", b"\x8e\x01\0\0\0\0\0\0\0a",
           b"\x96\x01\0\0\0\0\0\0\0a", b"]", b"}", b")", b"\x8f", b"Pid\n", b"cm\nn\n", b"\x82\x01"]  # fmt: skip
BROKEN = [b"I\n", b"Ix\n", b"I1", b"L\n", b"F\n", b"Fx\n", b"Sx\n", b"S'\n", b"S'a\n", b"U\x02a", b"T\xff\xff\xff\xffa",
          b"V\\ud8\n", b"\x8c\x01\xff", b"\x8c\x02\xc0\x80", b"X\xff\xff\xff\xffa", b"\x8d\xff\0\0\0\0\0\0\0a",
          b"\x8a\x02a", b"\x8b\xff\xff\xff\xff", b"\x8e\xff\0\0\0\0\0\0\0", b"G?", b"K", b"J\0", b"h\x05", b"g5\n",
          b"j\x05\0\0\0", b"\x82\0", b"\x84\xff\xff\xff\xff", b"\x80\x06", b"\xff", b"\x00", b"cm\n", b"(im\n", b"a",
          b"e", b"s", b"u", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"R", b"b", b"\x81", b"\x92", b"\x93",
          b"\x94", b"q\0", b"0", b"1", b"2", b"\x90", b"\x91", b"\x97", b"\x98", b"o", b"Q", b"."]  # fmt: skip


def streams():
    for one in SCALARS + BROKEN:
        yield one + b"."
        yield b"\x80\x04" + one + one + b"\x86."
        yield b"(" + one + b"l."
        yield b"(N" + one + b"d."
        yield b"]" + one + b"a."
        yield b"](" + one + one + b"e."
        yield b"}" + one + b"Ns."
        yield b"}(" + one + b"N" + one + b"Nu."
        yield b"\x8f(" + one + b"\x90."
        yield b"(" + one + b"\x91."
        yield b"cm\nn\n" + one + b"\x85R."
        yield b"cm\nn\n)R" + one + b"b."
        yield one + b"q\x00h\x00\x86."
        yield one + b"2\x86."
        yield one + b"0N."
        yield b"(" + one + b"1N."
        yield one + b"N."
        yield one
    for a in SCALARS:
        for b in SCALARS[::3]:
            yield a + b + b"\x93."
            yield a + b + b"R."
            yield a + b + b"a."
    rng = random.Random(5)
    for value in VALUES:
        for protocol in range(6):
            stream = pickle.dumps(value, protocol)
            yield stream
            yield pickletools.optimize(stream)
            for _ in range(6):
                cut = rng.randrange(len(stream))
                yield stream[:cut]
                yield stream[:cut] + stream[cut + 1 :]


def shared():
    inner = ["x" * 5]
    return [inner, {"a": inner, "b": ("x" * 5, inner)}]


def cycle():
    made = []
    made.append({"me": (made,)})
    return made


VALUES = [None, [1, -1, 255, 256, 2**31, 2**64], "text \u20ac \U0001f600", b"bytes", (1, (2, [3])), {"k": {1, 2}},
          1.5, shared(), cycle(), datetime.date(2000, 1, 2), collections.OrderedDict(a=1), bytearray(b"x"),
          list(range(1001)), {i: str(i) for i in range(1001)}, [[]] * 3, frozenset([(1, 2)]), "\ud800"]  # fmt: skip


def main():
    found = {}
    for stream in streams():
        if 0 < len(stream) < 400:
            found.setdefault(stream, gather.judge(stream, {})[0])
    print("# Written by make_corpus.py, with CPython %d.%d." % sys.version_info[:2])
    for stream, accepted in found.items():
        print("accepted" if accepted else "refused", base64.b64encode(stream).decode())


if __name__ == "__main__":
    main()
