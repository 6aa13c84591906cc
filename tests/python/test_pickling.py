"""What goes out of band here that ``pickle.dumps`` leaves in band: the same objects, unpickled by
``pickle.loads`` alone."""

import array
import copyreg
import pickle
import pickletools
import random
import struct
import subprocess
import sys

import children
import numpy as np
import pytest
from conftest import eventually, leases_out

import pannier
from pannier import codec
from pannier._core import is_plain
from pannier.pickling import BYTES_THRESHOLD, Pickling, _Stream
from pannier.reducers import _KEEPS_AXES, ARRAY_THRESHOLD

LONG = BYTES_THRESHOLD
dumps = Pickling()


def stock(obj):
    buffers = []
    return pickle.dumps(obj, 5, buffer_callback=buffers.append), buffers


def sizes(buffers):
    return [buffer.raw().nbytes for buffer in buffers]


def again(obj):
    """`obj` pickled here and unpickled with nothing but pickle."""
    stream, buffers = dumps(obj)
    return pickle.loads(stream, buffers=buffers)


# bytes and bytearray


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_long_bytes_go_out_of_band(kind):
    for size in (LONG, LONG + 1, 1 << 20):
        obj = kind(random.Random(size).randbytes(size))
        stream, buffers = dumps(obj)
        assert len(stream) < 50 and sizes(buffers) == [size]
        got = pickle.loads(stream, buffers=buffers)
        assert type(got) is kind and got == obj
    obj = kind(LONG - 1)
    assert dumps(obj) == stock(obj)


def test_bytes_of_more_than_four_gib():
    try:
        obj = bytes(5 << 30)  # pages that nobody touches
    except MemoryError:
        pytest.skip("no address space")
    stream, (buffer,) = dumps([obj, 1])
    assert len(stream) < 60 and buffer.raw().nbytes == len(obj)
    assert pickle.loads(stream, buffers=[b"instead"]) == [b"instead", 1]


def test_wherever_they_stand():
    one, other = bytes(LONG), bytearray(b"x" * (LONG + 1))
    arrays = [np.arange(5.0), np.arange(7.0), np.arange(9.0)]
    obj = {
        "list": [arrays[0], one, arrays[1], other],
        "tuple": (one, (other, b"y" * LONG)),
        "set": {b"z" * LONG},
        "key": {b"k" * LONG: 1},
        "exception": ValueError(one),
        "array": array.array("d", [0.5] * LONG),
        "last": arrays[2],
    }
    stream, buffers = dumps(obj)
    # In the order of the stream; what stands twice is there once.
    assert sizes(buffers) == [40, LONG, 56, LONG + 1, LONG, LONG, LONG, 8 * LONG, 72]
    assert len(stream) < 1500
    got = pickle.loads(stream, buffers=buffers)
    assert repr(got) == repr(obj)
    assert got["list"][1] is got["tuple"][0] and got["list"][3] is got["tuple"][1][0]


def arbitrary(rng, depth=0):
    size = rng.choice([0, 3, 4, 255, 256, LONG - 1, LONG, LONG + 1, 3 * LONG])
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return bytearray(rng.randbytes(size))
    if kind == 2:
        return rng.choice(["x", "\u1234", "\ud800"]) * size
    if kind == 3:
        return list(range(rng.choice([1, 30_000])))
    if kind == 4:
        return array.array("b", rng.randbytes(size))
    items = [arbitrary(rng, depth + 1) for _ in range(rng.randrange(5))]
    return items if kind == 5 else tuple(items) if kind == 6 else dict(enumerate(items))


def test_streams_of_any_shape():
    rng = random.Random(11)
    for _ in range(60):
        shared = arbitrary(rng, 3)
        obj = [arbitrary(rng), shared, arbitrary(rng), shared]
        stream, buffers = dumps(obj)
        got = pickle.loads(stream, buffers=buffers)
        assert got == obj and repr(type(got[1])) == repr(type(shared)) and got[1] is got[3]
        # Well-formed for other readers too, frames included.
        assert [each[0].name for each in pickletools.genops(stream)][-1] == "STOP"
        assert codec.decode(stream, buffers=buffers).buffers_used == len(buffers)


def test_what_looks_like_an_announcement():
    """Chunks of the pickler whose last bytes happen to say the length of the next one."""
    frame = bytes([0x80, 5, 0x95])
    for opcode in (b"B" + LONG.to_bytes(4, "little"), b"\x8e" + LONG.to_bytes(8, "little"),
                   b"\x96" + LONG.to_bytes(8, "little")):  # fmt: skip
        for payload in (bytes(LONG), bytearray(LONG)):
            stream = _Stream()
            data = b"some data" + opcode
            first = frame + len(data).to_bytes(8, "little") + data
            stream.write(first)
            stream.write(payload)
            assert stream.buffers == [] and b"".join(stream.chunks) == first + payload
    # Frames that end so, for real, before chunks of that length.
    for size in range(LONG, LONG + 40):
        (number,) = struct.unpack(">d", b"\x3f\xf0\x00B" + size.to_bytes(4, "little"))
        obj = [number] * 30_000
        assert dumps(obj) == stock(obj)


def test_a_bytearray_is_free_again_after_the_send(pair):
    near, far = pair
    obj = bytearray(LONG)
    near.send(obj)
    obj.append(1)  # BufferError, were it held
    assert far.recv(10) == bytes(LONG)


def test_errors_are_those_of_pickle():
    for wrong in (lambda: 0, [bytes(LONG), lambda: 0]):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            dumps(wrong)
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        dumps(pickle.PickleBuffer(memoryview(bytes(10))[::2]))
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RecursionError):
        dumps(deep)


# Arrays

RECORD = np.dtype([("a", "u1"), ("b", "<f8")], align=True)
BASE = np.arange(120_000)
STRIDED = {
    "every other": BASE[::2],
    "reversed": BASE[::-1],
    "column": BASE.reshape(-1, 2)[:, 1],
    "rows": BASE.reshape(300, 400)[::2],
    "fortran": np.asfortranarray(BASE.reshape(300, 400))[::2],
    "cube": BASE.reshape(30, 40, 100).transpose(1, 2, 0)[:, ::2],
    "broadcast": np.broadcast_to(np.arange(300.0), (200, 300)),
    "bool": (BASE % 3 == 0)[::2],
    "complex": BASE.astype("c16")[::3],
    "big-endian": BASE.astype(">f4")[::2],
    "float16": (BASE % 1000).astype("f2")[::2],
    "long double": BASE.astype("g")[::5],
    "bytes": BASE.astype("S7")[::2],
    "text": BASE.astype("U7")[::2],
    "structured": np.array([(1, 2.5), (3, 4.5)] * 9000, RECORD)[::2],
    "field": np.array([(1, 2.5), (3, 4.5)] * 9000, RECORD)["b"],
    "void": np.array([b"abc"] * 40_000, "V3")[::2],
    "times": BASE.astype("M8[us]")[::2],
    "durations": BASE.astype(">m8[3h]").reshape(300, 400)[:, ::3],
}
TIMES = {
    "contiguous times": BASE.astype("M8[ns]"),
    "no time": np.full(20_000, "NaT", "M8[s]"),
    "no unit": BASE.astype("M8"),
    "big-endian durations": BASE.astype(">m8[D]"),
    "fortran times": np.asfortranarray(BASE.astype("M8[ms]").reshape(300, 400)),
    "transposed times": BASE.astype("M8[ms]").reshape(30, 40, 100).transpose(1, 2, 0),
}
for each in (STRIDED["rows"],):
    each.flags.writeable = False


@pytest.mark.parametrize("name", STRIDED | TIMES)
def test_arrays_come_back_as_by_numpy(name):
    obj = (STRIDED | TIMES)[name]
    copied = name in STRIDED or ("transposed" in name and not _KEEPS_AXES)
    stream, buffers = dumps(obj)
    assert len(stream) < 400 and sizes(buffers) == [obj.nbytes]
    got, expected = pickle.loads(stream, buffers=buffers), pickle.loads(pickle.dumps(obj, 5))
    assert type(got) is np.ndarray and got.dtype == obj.dtype
    assert got.shape == obj.shape and got.flags.writeable == expected.flags.writeable
    assert got.strides == (expected if copied else obj).strides
    np.testing.assert_array_equal(got, obj)
    in_pool = pannier.pool().contains(np.frombuffer(buffers[0].raw(), np.uint8))
    assert in_pool == copied  # once; times are not copied at all


def test_no_old_bytes_travel_between_the_fields():
    obj = np.zeros(20_000, RECORD)
    obj.view(np.uint8)[:] = 7
    pool = pannier.Pool()
    old = pool.empty(obj.nbytes // 2, np.uint8)
    old.fill(99)
    del old
    _, (buffer,) = Pickling(pool)(obj[::2])
    assert set(bytes(buffer)) == {7}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_arrays_that_numpy_alone_pickles():
    class Sub(np.ndarray):
        pass

    globals()["Sub"] = Sub
    Sub.__qualname__ = "Sub"
    few = ARRAY_THRESHOLD // 8 - 1
    for obj in (
        np.arange(5.0),
        np.arange(100_000.0),
        np.asfortranarray(np.ones((300, 400))),
        np.ones((30, 40, 50)).transpose(1, 2, 0) if _KEEPS_AXES else 0,
        np.zeros((0, 3)),
        np.zeros((3, 0))[:, ::2],
        np.array(2.5),
        np.arange(2 * few)[::2],
        np.arange(few).astype("M8[s]"),
        np.array(["x", None, 3] * 9000, object)[::2],
        np.array([(1, "x")] * 9000, [("number", int), ("object", object)])[::2],
    ):
        assert dumps(obj)[0] == stock(obj)[0] and sizes(dumps(obj)[1]) == sizes(stock(obj)[1])
    masked = np.ma.masked_array(np.arange(40_000), np.arange(40_000) % 2)[::2]
    matrix = np.asmatrix(BASE.reshape(300, 400))[:, ::2]
    for obj in (masked, matrix, np.arange(80_000)[::2].view(Sub), np.rec.array(STRIDED["structured"])):
        got = again(obj)
        assert type(got) is type(obj) and got.dtype == obj.dtype
        np.testing.assert_array_equal(got, obj)
    np.testing.assert_array_equal(again(masked).mask, masked.mask)


def test_one_copy_into_the_connections_own_pool(child, ipc):
    far = child(children.echo, ipc)
    obj = {"strided": STRIDED["rows"], "bytes": bytes(LONG)}
    with pannier.Pool() as pool, pannier.connect(far.recv(), pool=pool) as connection:
        connection.send(obj["strided"], timeout=30)
        assert connection.stats().copied_bytes == 0  # it lay in the pool, and in no other
        assert connection.stats().leased_bytes_sent == obj["strided"].nbytes
        np.testing.assert_array_equal(connection.recv(30), obj["strided"])
        for _ in range(20):
            connection.send(obj, timeout=30)
            assert connection.recv(30)["bytes"] == obj["bytes"]
        assert eventually(lambda: pool.stats().blocks == 0)
        assert pannier.pool().stats().blocks == 0
    far.recv()
    far.join()


def test_a_full_pool(child, ipc):
    far = child(children.echo, ipc)
    obj = np.zeros((1000, 2000))[:, ::2]
    with pannier.Pool(1 << 20) as pool, pannier.connect(far.recv(), pool=pool) as connection:
        with pytest.raises(pannier.PoolExhausted):
            connection.send(obj, timeout=0.2)
        connection.send(obj[:10], timeout=30)
        assert connection.recv(30).shape == (10, 1000)
    far.recv()
    far.join()


# Everything together, to trusted peers and others


def test_there_and_back(child, way):
    obj = {**STRIDED, **TIMES, "long": [b"a" * LONG, bytearray(b"b" * LONG), b"short"]}
    far = child(children.echo, *way)
    with pannier.connect(far.recv()) as connection:
        for name, sent in obj.items():
            connection.send(sent, timeout=30)
            got = connection.recv(30)
            assert type(got) is type(sent)
            if name == "long":
                assert got == sent and [type(each) for each in got] == [bytes, bytearray, bytes]
            else:
                assert got.dtype == sent.dtype
                np.testing.assert_array_equal(got, sent)
        del got
    far.recv()
    far.join()
    assert eventually(lambda: leases_out() == 0)


def test_calls(child, ipc):
    far = child(children.serve, ipc)
    with pannier.Client(far.recv()) as client:
        for obj in (b"a" * LONG, bytearray(b"b" * LONG), [b"c" * LONG] * 2):
            assert client.keywords(obj, key=obj) == ((obj,), {"key": obj})
        np.testing.assert_array_equal(client.scale(BASE[::2], 2), BASE[::2] * 2)
        stats = client.stats()
        assert stats.stream_bytes_sent < 4000 and stats.stream_bytes_received < 4000
        client.end()
    far.recv()


def test_not_every_call_of_bytes_is_safe():
    def load(stream, *buffers):
        return codec.loads(stream, buffers=buffers)

    long = bytes(40 << 20)
    stream, buffers = dumps([long, bytearray(long)])
    assert load(stream, *buffers) == [long, long]
    call = b"cbuiltins\nbytes\n"
    for arguments in (b"J\x00\x00\x00\x7f\x85", b"\x97\x8c\x05utf-8\x86", b"]K\x01a\x85", b"\x8c\x01x\x85"):
        with pytest.raises(pannier.ForbiddenGlobal):
            load(b"\x80\x05" + call + arguments + b"R.", b"abc")
    # One buffer, copied for each item.
    item = call + b"h\x00\x85R"
    stream = b"\x80\x05](\x97\x94" + item * 3 + b"e."
    assert load(stream, b"abc") == [b"abc"] * 4
    with pytest.raises(pannier.LimitExceeded):
        load(stream, long)


# copyreg, and packages imported later


class Registered:
    pass


def test_what_is_plain():
    """What no reducer and no buffer can matter to takes the short way, and nothing else does."""

    class Text(str):
        pass

    endless = []
    endless.append(endless)
    deep = []
    for _ in range(8):
        deep = [deep]
    for obj in (None, True, 1 << 100, 1.5, "a" * 100_000, b"a", (1, ["b", {"c": (2.0,)}]), [0] * 63):
        assert is_plain(obj) and pannier.dumps(obj).stream == pickle.dumps(obj, 5)
    for obj in (
        *(endless, deep, [0] * 64, Text("a"), [Text("a")], {Text("a"): 1}, {1}, frozenset({1})),
        *(bytes(BYTES_THRESHOLD), [bytes(BYTES_THRESHOLD)], bytearray(1), memoryview, abs),
        *(np.zeros(3), (np.zeros(3),), np.float64(1), pickle.PickleBuffer(b"a"), 1j, object()),
    ):
        assert not is_plain(obj)


def test_copyreg_counts(monkeypatch):
    monkeypatch.setattr(copyreg, "dispatch_table", dict(copyreg.dispatch_table))
    assert type(again(Registered())) is Registered
    copyreg.pickle(Registered, lambda obj: (str, ("first",)))
    assert again(Registered()) == "first"
    copyreg.pickle(Registered, lambda obj: (str, ("second",)))
    assert again(Registered()) == "second"
    copyreg.pickle(np.ndarray, lambda obj: (str, ("mine",)))
    assert again(BASE[::2]) == "mine"
    del copyreg.dispatch_table[Registered], copyreg.dispatch_table[np.ndarray]
    assert type(again(Registered())) is Registered and type(again(BASE[::2])) is np.ndarray
    assert again(1 + 2j) == 1 + 2j


def test_with_another_pickler():
    cloudpickle = pytest.importorskip("cloudpickle")
    dumps = Pickling(None, cloudpickle.Pickler)
    long = bytes(LONG)
    stream, buffers = dumps({"function": lambda: 7, "bytes": long, "strided": BASE[::2]})
    assert sizes(buffers) == [LONG, BASE.nbytes // 2]
    got = pickle.loads(stream, buffers=buffers)
    assert got["function"]() == 7 and got["bytes"] == long
    np.testing.assert_array_equal(got["strided"], BASE[::2])


def test_reducers_are_there_when_their_package_is_imported():
    program = """
import sys, types, pickle
import pannier
from pannier.pickling import Pickling
dumps = Pickling()
assert "torch" not in sys.modules and "pandas" not in sys.modules
class Tensor: pass
dumps(Tensor())
module = sys.modules["torch"] = types.ModuleType("torch")  # its import has begun
dumps(Tensor())
for name in ("strided", "from_numpy", "uint8", "int16", "int32"):
    setattr(module, name, None)
    dumps(Tensor())
module.Tensor = Tensor
sys.modules["torch.more"] = types.ModuleType("torch.more")
try:
    dumps(Tensor())
except AttributeError as error:
    assert "device" in str(error), error
else:
    raise AssertionError("the reducer was not called")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
