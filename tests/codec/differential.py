"""A differential fuzzer: streams that were made up or damaged, given to the codec and to CPython.

    python differential.py --seconds 60 [--seed 7] [--case N] [--save FOLDER]

Each case depends on the seed and its number alone, so `--case N` runs one again. Prints what it
does every ten seconds, and a summary. Exit code 1 if the two disagreed about anything that
docs/codec.md does not list.
"""

import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import pickle
import pickletools
import random
import resource
import struct
import sys
import time
import uuid

import oracle

EDGES = [0, 1, 2, 3, 9, 99, 255, 256, 257, 999, 1000, 1001, 2001]
WORDS = ["", "a", "b", "key", "ü", "\u20ac", "\U0001f600", "\udc80", "line\n", "\\u", "x" * 255, "x" * 256]


class Made:
    """An object of a class, with state."""

    def __init__(self, state):
        self.__dict__.update(state)


class Slotted:
    __slots__ = ("a", "b")


class Reduced:
    """Reduces to whatever it was given."""

    def __init__(self, *how):
        self.how = how

    def __reduce_ex__(self, protocol):
        return self.how


def make(*arguments):
    return arguments


class Graphs:
    """Random objects that pickle."""

    def __init__(self, rng):
        self.rng = rng
        self.known = []

    def scalar(self):
        rng = self.rng
        return rng.choice([
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: rng.choice([0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**63, -(2**63)]),
            lambda: rng.getrandbits(rng.choice([8, 40, 64, 300, 2100])) * rng.choice([1, -1]),
            lambda: rng.choice([0.0, -0.0, 1.5, 1e300, float("inf"), -float("inf"), 5e-324]),
            lambda: struct.unpack("<d", rng.randbytes(8))[0],
            lambda: rng.choice(WORDS) + rng.choice(WORDS),
            lambda: rng.randbytes(rng.choice([0, 1, 5, 255, 256])),
            lambda: bytearray(rng.randbytes(rng.choice([0, 1, 5, 300]))),
            lambda: 1j * rng.random(),
            lambda: datetime.datetime.fromtimestamp(rng.randrange(2**31)),
            lambda: decimal.Decimal(rng.randrange(10**6)) / 100,
            lambda: fractions.Fraction(rng.randrange(100), 7),
            lambda: uuid.UUID(int=rng.getrandbits(128)),
            lambda: range(rng.randrange(9)),
            lambda: rng.choice([int, dict, Made, make, len, collections.OrderedDict]),
        ])()  # fmt: skip

    def key(self, depth):
        while True:
            key = self.scalar() if self.rng.random() < 0.8 or depth > 2 else self.tuple(depth + 1)
            try:
                hash(key)
            except TypeError:
                continue
            return key

    def tuple(self, depth):
        return tuple(self.any(depth + 1) for _ in range(self.rng.randrange(5)))

    def any(self, depth=0):
        rng = self.rng
        if self.known and rng.random() < 0.2:
            return rng.choice(self.known)
        if depth > 5 or rng.random() < 0.4:
            value = self.scalar()
        else:
            value = getattr(self, rng.choice(["list", "dict", "set", "tuple", "object", "many"]))(depth + 1)
        if rng.random() < 0.5:
            self.known.append(value)
        return value

    def list(self, depth):
        value = []
        self.known.append(value)
        value.extend(self.any(depth) for _ in range(self.rng.randrange(6)))
        return value

    def dict(self, depth):
        value = {}
        self.known.append(value)
        for _ in range(self.rng.randrange(6)):
            value[self.key(depth)] = self.any(depth)
        return value

    def set(self, depth):
        return self.rng.choice([set, frozenset])(
            x for x in (self.key(depth) for _ in range(self.rng.randrange(6))) if x == x
        )

    def many(self, depth):
        size = self.rng.choice(EDGES)
        return self.rng.choice([
            lambda: list(range(size)),
            lambda: tuple(range(size)),
            lambda: {i: None for i in range(size)},
            lambda: set(range(size)),
            lambda: [self.scalar()] * size,
            lambda: "x" * size,
            lambda: ["w%d" % i for i in range(size)] * 2,
        ])()  # fmt: skip

    def object(self, depth):
        rng = self.rng
        kind = rng.randrange(5)
        if kind == 0:
            value = Made({})
            self.known.append(value)
            value.__dict__.update((rng.choice("abcd"), self.any(depth)) for _ in range(3))
            return value
        if kind == 1:
            value = Slotted()
            value.a = self.any(depth)
            return value
        if kind == 2:
            return collections.OrderedDict((str(i), self.any(depth)) for i in range(rng.randrange(4)))
        if kind == 3:
            return collections.deque([self.any(depth)], 5)
        reduced = [make, tuple(self.any(depth) for _ in range(rng.randrange(3)))]
        if rng.random() < 0.6:
            reduced.append(self.any(depth))
            if rng.random() < 0.5:
                reduced.append(iter([self.any(depth) for _ in range(rng.randrange(4))]))
                reduced.append(iter([(self.key(depth), 1) for _ in range(rng.randrange(3))]))
        return Reduced(*reduced)


def pickled(rng):
    """A stream that a pickler wrote."""
    value = Graphs(rng).any()
    try:
        return pickle.dumps(value, rng.randrange(6))
    except Exception:  # Slots in protocol 0, surrogates in names
        return pickle.dumps(None, 0)


def argument(rng, opcode):
    """A random argument for one opcode, as bytes."""
    reader = opcode.arg.name if opcode.arg else ""
    text = rng.choice([b"", b"a", b"os", b"system", b"x\xc3\xbc", b"\xff", b"\xed\xb2\x80", b"1", b"\\x41\\u20ac", b"''"])
    if reader in ("uint1", "uint2", "uint4", "uint8", "int4"):
        width = {"uint1": 1, "uint2": 2, "uint4": 4, "uint8": 8, "int4": 4}[reader]
        return rng.choice([0, 1, 2, 3, 10, 127, rng.getrandbits(8 * width - 1)]).to_bytes(8, "little")[:width]
    if reader == "float8":
        return rng.randbytes(8)
    if reader in ("decimalnl_short", "decimalnl_long"):
        return rng.choice([b"0", b"1", b"2", b"00", b"01", b"12L", b"-7", b"0x1f", b"1_0", b" 3 ", b"", b"9" * 30]) + b"\n"
    if reader == "floatnl":
        return rng.choice([b"1.5", b"inf", b"nan", b"-0", b"1e999", b"x", b"1_0.0"]) + b"\n"
    if reader == "stringnl":
        return rng.choice([b"'%s'", b'"%s"', b"%s"]) % text + b"\n"
    if reader in ("unicodestringnl", "stringnl_noescape"):
        return text + b"\n"
    if reader == "stringnl_noescape_pair":
        return rng.choice([b"os\nsystem\n", b"builtins\ndict\n", b"__builtin__\nunicode\n", b"a.b\nc.d\n", b"\nx\n"])
    for prefix, width in (("1", 1), ("4", 4), ("8", 8)):
        if reader.endswith(prefix):
            length = len(text) + rng.choice([0, 0, 0, 0, 0, 1, -1])
            return max(0, length).to_bytes(width, "little") + text
    return b""


_OPCODES = pickletools.opcodes
_COMMON = [op for op in _OPCODES if op.name in (
    "MARK NONE NEWTRUE BININT1 SHORT_BINUNICODE SHORT_BINBYTES EMPTY_LIST EMPTY_DICT EMPTY_SET EMPTY_TUPLE "
    "TUPLE TUPLE1 TUPLE2 APPEND APPENDS SETITEM SETITEMS ADDITEMS MEMOIZE BINPUT BINGET DUP POP REDUCE BUILD "
    "GLOBAL NEWOBJ FROZENSET LIST DICT").split()]  # fmt: skip


def made_up(rng):
    """A stream of random opcodes, most of which find on the stack what they take."""
    out = [rng.choice([b"", b"\x80\x02", b"\x80\x04", b"\x80\x05"])]
    depth, marks = 0, 0
    for _ in range(rng.choice([5, 10, 30, 80])):
        opcode = rng.choice(_COMMON if rng.random() < 0.7 else _OPCODES)
        needs = [thing.name for thing in opcode.stack_before]
        if opcode.name in ("PROTO", "FRAME", "STOP") and rng.random() < 0.95:
            continue
        if "mark" in needs and not marks and rng.random() < 0.95:
            continue
        if len(needs) > depth and rng.random() < 0.95:
            continue
        out.append(opcode.code.encode("latin1") + argument(rng, opcode))
        if "mark" in needs:
            marks -= 1
            depth = max(0, depth - rng.randrange(3))
        depth = max(0, depth - len(needs) + len(opcode.stack_after))
        marks += opcode.name == "MARK"
    return b"".join(out) + b"."


def damaged(rng, stream, other):
    """A copy of a stream, with a few bytes changed, cut, doubled or taken from another."""
    bytes_ = bytearray(stream)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(bytes_) + 1)
        what = rng.randrange(6)
        if what == 0 and at < len(bytes_):
            bytes_[at] ^= 1 << rng.randrange(8)
        elif what == 1 and at < len(bytes_):
            bytes_[at] = rng.choice(_OPCODES).code.encode("latin1")[0]
        elif what == 2:
            del bytes_[at : at + rng.randrange(1, 8)]
        elif what == 3:
            opcode = rng.choice(_OPCODES)
            bytes_[at:at] = opcode.code.encode("latin1") + argument(rng, opcode)
        elif what == 4:
            bytes_[at:at] = bytes_[at : at + rng.randrange(20)]
        else:
            start = rng.randrange(len(other) + 1)
            bytes_[at:at] = other[start : start + rng.randrange(30)]
    return bytes(bytes_)


def case(seed, number):
    """The stream and the options of a case."""
    rng = random.Random(f"{seed}/{number}")
    first = rng.choice([pickled, made_up])(rng)
    if rng.random() < 0.6:
        first = damaged(rng, first, rng.choice([pickled, made_up])(rng))
    options = {
        "encoding": rng.choice(["ASCII", "ASCII", "latin1", "bytes", "utf-8"]),
        "errors": rng.choice(["strict", "strict", "ignore", "replace", "surrogateescape"]),
        "fix_imports": rng.random() < 0.8,
        "buffers": rng.choice([None, [b"read-only", bytearray(b"writable"), bytearray(3), b""]]),
    }
    return first, options


def bound_memory(mebibytes):
    """Memory for this process: CPython's memo of a large index, and lengths that a stream only
    states, would take all there is."""
    resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--save", type=pathlib.Path, help="a folder for streams that differ")
    options = parser.parse_args()
    bound_memory(4096)
    counts = collections.Counter()
    start = last = time.monotonic()
    number = 0 if options.case is None else options.case
    while True:
        stream, how = case(options.seed, number)
        try:
            document = oracle.compare(stream, **how)
            counts["refused by both" if document is None else "accepted by both"] += 1
        except oracle.Deviation as deviation:
            counts[f"documented: {deviation}"] += 1
        except Exception as error:
            counts["DIFFERENT"] += 1
            print(f"case {number}: {type(error).__name__}: {error!s:.300}")
            if len(stream) < 300:
                print(f"  {stream!r} {how}", flush=True)
            if options.save:
                options.save.mkdir(parents=True, exist_ok=True)
                (options.save / f"{options.seed}-{number}").write_bytes(stream)
        number += 1
        now = time.monotonic()
        if now - last > 10:
            last = now
            print(f"{now - start:5.0f} s: {number} cases, {counts['DIFFERENT']} different", flush=True)
        if options.case is not None or now - start > options.seconds or counts["DIFFERENT"] >= 20:
            break
    print(f"seed {options.seed}: {sum(counts.values())} cases in {time.monotonic() - start:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"{count:8d} {name}")
    return 1 if counts["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main())
