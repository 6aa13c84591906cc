"""Python objects as C++ types and back: pickled here, read and written again by the program
tests/codec/types_peer.cc, loaded here, and equal. In protocols 2 to 5, in and out of band, with
the NumPy at hand; streams of the other NumPy are in tests/codec/golden."""

import array
import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
import warnings

import numpy as np
import pytest

import pannier.pickling

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("PANNIER_BUILD_DIR", ROOT / "build/release")) / "tests/codec"

INNER = np.dtype([("a", "i2"), ("b", "?")], align=True)
PARTICLE = np.dtype(
    [("id", "i4"), ("mass", "f8"), ("position", "f4", (3,)), ("inner", INNER), ("seen", "M8[ns]")],
    align=True,
)


@dataclasses.dataclass
class Dataclass:
    x: int
    label: str | None = None


class Colour(enum.Enum):
    RED = 1
    BLUE = 300


def particles(count):
    made = np.zeros(count, PARTICLE)
    made["id"] = range(count)
    made["mass"] = np.arange(count) / 7
    made["position"] = np.arange(3 * count).reshape(count, 3)
    made["inner"]["a"] = -np.arange(count)
    made["inner"]["b"] = np.arange(count) % 2
    made["seen"] = np.datetime64("2024-02-29", "ns") + np.arange(count)
    return made


def frozen(made):
    made.flags.writeable = False
    return made


UTC = datetime.timezone.utc
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "IST")
WEST = datetime.timezone(-datetime.timedelta(hours=3, microseconds=1))
TIMES = np.array(["1969-12-31T23:59:59.999999999", "2024-02-29", "NaT"], "M8[ns]")

OBJECTS = [
    *[("decimal", decimal.Decimal(text)) for text in ("1.50", "-0E+3", "Infinity", "12345678901234567890.1")],
    *[("fraction", fractions.Fraction(n, 7)) for n in (0, 3, -(10**18))],
    *[("uuid", uuid.UUID(int=n)) for n in (0, 5, 2**63, 2**127 - 1, 2**128 - 1)],
    ("range", range(-3, 10**12, 7)),
    *[("slice", each) for each in (slice(None), slice(1, None, -2), slice(0, 5))],
    *[("bytearray", bytearray(each)) for each in (b"", b"abc", bytes(range(256)))],
    *[("bytes", each) for each in (b"", b"abc", bytes(range(256)))],
    *[("path", pathlib.PosixPath(each)) for each in ("/usr/lib", "a/b", ".", "/", "Z\u00fcrich")],
    *[("complex", each) for each in (1.5 - 2j, complex("nan"), complex(0, float("-inf")))],
    *[("ordered", collections.OrderedDict(each)) for each in ([], [("b", 2), ("a", 1)])],
    ("default", collections.defaultdict(list, {"a": [1], "b": []})),
    ("default", collections.defaultdict(None, {"a": [1]})),
    ("default", collections.defaultdict(list)),
    *[("counter", collections.Counter(each)) for each in ("", "abracadabra")],
    *[("deque", collections.deque(range(5), maxlen)) for maxlen in (None, 5, 9)],
    ("deque", collections.deque((), 0)),
    ("plain_deque", collections.deque([0.5, -1.0])),
    *[("set", set(each)) for each in ((), range(5), range(2000))],
    *[("frozenset", frozenset(each)) for each in ((), ("a", "b"))],
    *[("dict", {str(n): n / 2 for n in range(size)}) for size in (0, 1, 2, 1000, 1001)],
    *[(f"array_{code}", array.array(code, [0, 1, 100])) for code in "idBlq"],
    ("array_i", array.array("i")),
    *[("datetime", datetime.datetime(2024, 10, 27, 2, 30, 1, 5, zone, fold=fold))
      for zone in (None, UTC, EAST, WEST) for fold in (0, 1)],
    ("datetime", datetime.datetime.min),
    ("datetime", datetime.datetime.max),
    *[("time", datetime.time(23, 59, 58, 1, zone, fold=fold)) for zone in (None, EAST) for fold in (0, 1)],
    *[("timezone", zone) for zone in (UTC, EAST, WEST)],
    *[("date", each) for each in (datetime.date.min, datetime.date(2024, 2, 29), datetime.date.max)],
    *[("timedelta", datetime.timedelta(days, 5, us)) for days in (-3, 0, 40000) for us in (0, 999999)],
    *[("enum", member) for member in Colour],
    *[("dataclass", each) for each in (Dataclass(3), Dataclass(-4, "text"))],
    ("json", [{"id": n, "scores": [n / 3] * (n % 4), "name": f"n{n}"} for n in range(1500)]),
    *[("dtype", np.dtype(code)) for code in ("f8", ">i4", "?", "c16", "M8[ns]", "m8[D]", ">M8[us]")],
    *[("scalar_f8", np.float64(each)) for each in (0.1, float("inf"))],
    ("scalar_u2", np.uint16(65535)),
    ("scalar_bool", np.bool_(True)),
    ("scalar_c8", np.complex64(1 - 2j)),
    *[("scalar_M8", each) for each in TIMES],
    ("scalar_m8", np.timedelta64(-5, "ms")),
    ("scalar_void", particles(3)[2]),
    *[("ndarray_f8", np.arange(24.0).reshape(2, 3, 4).transpose(axes))
      for axes in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1))],
    ("ndarray_f8", np.zeros((0, 3))),
    ("ndarray_f8", np.array(2.5)),
    ("ndarray_i4", np.arange(1000, dtype="i4")),
    ("ndarray_i4", frozen(np.arange(5, dtype="i4"))),
    ("ndarray", np.arange(6, dtype="u2").reshape(2, 3)),
    ("ndarray", TIMES.astype("M8[us]")),
    ("ndarray_M8", TIMES),
    ("ndarray_M8", TIMES.reshape(3, 1)),
    ("ndarray_m8", np.arange(-2, 3).astype("m8[s]")),
    ("ndarray_void", particles(5)),
    ("ndarray_void", particles(6).reshape(2, 3)),
    ("own_void", particles(2)),
]  # fmt: skip

# Read as another type than they are written as.
CONVERTED = [
    ("datetime64", np.datetime64("2024-02-29T01:02", "m"), datetime.datetime(2024, 2, 29, 1, 2, tzinfo=UTC)),
    ("datetime64", np.datetime64(-1, "W"), datetime.datetime(1969, 12, 25, tzinfo=UTC)),
    ("datetime64", np.datetime64("2024-02-29", "D").astype(">M8[s]"), datetime.datetime(2024, 2, 29, tzinfo=UTC)),
    ("timedelta64", np.timedelta64(3, "h"), datetime.timedelta(hours=3)),
    ("timedelta64", np.timedelta64(-2_000_000, "ns"), datetime.timedelta(milliseconds=-2)),
    ("ordered", {"z": 1, "a": 2}, collections.OrderedDict([("z", 1), ("a", 2)])),
    ("ndarray_f8", np.arange(3.0).astype(">f8"), np.arange(3.0)),
    ("ndarray", array.array("h", [1, 2]), np.array([1, 2], "i2")),
    ("dict", collections.OrderedDict(a=1.5), {"a": 1.5}),
    ("days", np.array(["1970-01-02"], "M8[D]"), [datetime.datetime(1970, 1, 2, tzinfo=UTC)]),
]

REFUSED = [
    ("datetime64", np.datetime64("NaT", "us"), "NaT is no time"),
    ("timedelta64", np.timedelta64(1500, "us"), "no multiple of its C++ unit"),
    ("datetime64", np.datetime64(2**60, "W"), "out of the range"),
    ("ndarray_M8", TIMES.astype("M8[us]"), "found datetime64[us] array"),
    ("ndarray_M8", np.array(["2024-01"], "M8[M]"), "of no unit, or of months or multiples"),
    ("ndarray_void", np.zeros(2, np.dtype([("id", "i4"), ("mass", "f8")])), "found an array of structures"),
    ("ndarray_void", np.zeros(2), "expected structure (id: int32 at 0"),
    ("ndarray_f8", particles(1), "found an array of structures"),
    ("fraction", fractions.Fraction(1, 10**20), "denominator"),
    ("range", range(10**20), "stop"),
    ("counter", {"a": 1}, "expected Counter"),
    ("array_i", np.arange(3, dtype="i4"), "expected array.array"),
    ("bytearray", b"abc", "expected bytearray"),
    ("scalar_f8", np.float32(1), "expected NumPy float64"),
    ("dtype", PARTICLE, "expected numpy.dtype"),
]


class Peer:
    def __init__(self):
        program = BUILT / "codec_types_peer"
        assert program.exists(), f"no {program}: build the tests, or set PANNIER_BUILD_DIR"
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name, protocol, stream, buffers):
        words = [name, str(protocol), text_of(stream)]
        words += [("R" if each.readonly else "") + text_of(each) for each in buffers]
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        assert answer, f"the program ended with {self.process.wait(10)}"
        if answer.startswith("!"):
            raise ValueError(answer[2:])
        stream, *buffers = answer.split()
        return bytes_of(stream), [
            bytes_of(each[1:]) if each.startswith("R") and len(each) % 4 else bytearray(bytes_of(each))
            for each in buffers
        ]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0
        self.process.stdout.close()


def text_of(data):
    return base64.b64encode(data).decode() or "-"


def bytes_of(text):
    return b"" if text == "-" else base64.b64decode(text)


@pytest.fixture(scope="module")
def peer():
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(autouse=True)
def geometry(monkeypatch):
    module = types.ModuleType("geometry")
    for cls in Dataclass, Colour:
        monkeypatch.setattr(cls, "__module__", "geometry")
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "geometry", module)


def pickled(obj, protocol, out_of_band):
    if not out_of_band:
        return pickle.dumps(obj, protocol), []
    buffers = []
    stream = pickle.dumps(obj, protocol, buffer_callback=buffers.append)
    return stream, [buffer.raw() for buffer in buffers]


def same(got, sent):
    assert type(got) is type(sent)
    if isinstance(sent, np.ndarray):
        assert got.dtype == sent.dtype and got.shape == sent.shape
        assert got.tobytes() == sent.tobytes()
    elif isinstance(sent, (np.generic, complex)):
        assert getattr(got, "dtype", None) == getattr(sent, "dtype", None)
        # repr says "aligned", a flag that the two major versions pickle differently.
        assert got.tobytes() == sent.tobytes() if isinstance(got, np.void) else repr(got) == repr(sent)
    else:
        assert got == sent
        if not isinstance(sent, (dict, set, frozenset)):  # the order of C++'s maps may be another
            assert repr(got) == repr(sent)
    for name in ("fold", "maxlen", "default_factory", "typecode"):
        assert getattr(got, name, None) == getattr(sent, name, None)


WAYS = [(2, False), (3, False), (4, False), (5, False), (5, True)]


@pytest.mark.parametrize(("protocol", "out_of_band"), WAYS)
def test_comes_back_unchanged(peer, protocol, out_of_band):
    for name, sent in OBJECTS:
        if name in ("datetime", "time") and protocol < 4:
            sent = sent.replace(fold=0)  # which these protocols do not carry
        stream, buffers = peer.ask(name, protocol, *pickled(sent, protocol, out_of_band))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a deprecated name is a failure
            got = pickle.loads(stream, buffers=buffers)
        try:
            same(got, sent)
        except AssertionError as error:
            raise AssertionError(f"{name}, protocol {protocol}: {sent!r} came back as {got!r}") from error
        if isinstance(sent, np.ndarray) and protocol == 5 and name != "own_void":
            # What went in read-only comes out so, but for owned and in-band copies.
            assert got.flags.writeable or not sent.flags.writeable


@pytest.mark.parametrize(("protocol", "out_of_band"), WAYS)
def test_comes_back_as_what_it_was_read_as(peer, protocol, out_of_band):
    for name, sent, expected in CONVERTED:
        stream, buffers = peer.ask(name, protocol, *pickled(sent, protocol, out_of_band))
        same(pickle.loads(stream, buffers=buffers), expected)


@pytest.mark.parametrize(("protocol", "out_of_band"), WAYS)
def test_is_refused_with_a_reason(peer, protocol, out_of_band):
    for name, sent, reason in REFUSED:
        with pytest.raises(ValueError) as caught:
            peer.ask(name, protocol, *pickled(sent, protocol, out_of_band))
        assert reason in str(caught.value), name


def test_long_objects_as_pannier_pickles_them(peer):
    """What pannier.pickling puts out of band, that pickle leaves in band."""
    times = np.resize(TIMES, 60_000)
    for name, sent in [
        ("bytes", b"abc" * 50_000),
        ("bytearray", bytearray(b"abc" * 50_000)),
        ("ndarray_f8", np.arange(60_000.0)[::2]),
        ("ndarray_M8", times),
        ("ndarray_M8", times[::-2]),
        ("ndarray_void", particles(9000)),
        ("ndarray_void", particles(9000)[::3]),
    ]:
        stream, buffers = pannier.pickling.Pickling()(sent)
        assert len(stream) < 1000 and len(buffers) == 1
        stream, buffers = peer.ask(name, 5, stream, [buffer.raw() for buffer in buffers])
        got = pickle.loads(stream, buffers=buffers)
        if name == "ndarray_void":  # between the fields of strided ones is what happens to be there
            assert got.dtype == sent.dtype and (got == sent).all()
        else:
            same(got, sent)
