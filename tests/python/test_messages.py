"""Messages between two processes: equal objects, zero or one copy, buffers that go home."""

import array
import datetime
import decimal
import fractions
import pickle
import uuid
from collections import Counter, OrderedDict, defaultdict, deque

import children
import numpy as np
import pytest
from conftest import eventually, leases_out

import pannier

def same(left, right):
    """Equal in type and value, arrays too."""
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, other in zip(left, right):
            same(one, other)
    else:
        assert left == right
    return True


@pytest.fixture
def echo(child, way):
    """A connection to a process that sends all back."""
    far = child(children.echo, *way)
    with pannier.connect(far.recv()) as connection:
        yield connection
    far.recv()
    far.join()


def test_echo_of_a_large_array(echo):
    sent = {"a": np.random.default_rng(1).random((8, 1 << 20)), "b": "text", "c": [1, 2.5, None]}
    assert sent["a"].nbytes == 64 << 20
    echo.send(sent, timeout=30)
    got = echo.recv(timeout=30)
    assert same(sent, got)
    assert got["a"].flags.writeable
    before = sent["a"][0, 0]
    got["a"][0, 0] = -1  # seen here alone
    assert sent["a"][0, 0] == before
    echo.send(sent, timeout=30)
    assert same(sent, echo.recv(timeout=30)) and got["a"][0, 0] == -1


def test_what_was_read_only_stays_so(echo):
    values = np.arange(100_000)
    values.flags.writeable = False
    echo.send([values, np.arange(100_000)])
    readonly, writable = echo.recv(30)
    assert not readonly.flags.writeable and writable.flags.writeable
    with pytest.raises(ValueError):
        readonly[0] = 1


def test_a_message_received_read_only(echo):
    for readonly in (False, True, False):
        echo.send(np.arange(100_000))
        assert echo.recv(30, readonly=readonly).flags.writeable is not readonly
        echo.send(np.arange(100_000))
        message = echo.recv_message(30, readonly=readonly)
        assert message.buffers[0].readonly is readonly
        assert same(message.load(), np.arange(100_000))


VALUES = {
    "nothing": np.empty((0, 3)),
    "no dimension": np.array(2.5),
    "one byte": np.zeros(1, np.uint8),
    "fortran": np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "every other": np.arange(60_000)[::2],
    "reversed": np.arange(30_000)[::-1],
    "transposed cube": np.arange(60_000).reshape(3, 200, 100).transpose(1, 2, 0),
    "structured": np.array([(1, 2.5, b"x")] * 9999, [("a", "<i4"), ("b", ">f8"), ("c", "S3")]),
    "big-endian": np.arange(20_000).astype(">i8"),
    "complex": np.arange(20_000) * 1j,
    "bool": np.arange(50_000) % 2 == 0,
    "text": np.array(["ä", "bc", ""] * 7000),
    "dates": np.arange("2000-01-01", "2030-01-01", dtype="datetime64[D]"),
    "durations": np.arange(20_000).astype("timedelta64[ns]"),
    "objects": np.array([1, "two", None, [3.0]] * 10, dtype=object),
    "half": np.arange(40_000, dtype=np.float16),
    "scalars": [np.float32(1.5), np.int64(-3), np.datetime64("2020-02-02"), np.bool_(True)],
    "dtypes": [np.dtype("f8"), np.dtype([("x", "i4", (2,))]), np.dtype("U7")],
    "data": [
        None, True, 2**100, -1.5, 2j, "a", b"b", bytearray(b"c" * 50_000), (1, (2,)), {3}, frozenset("d"),
        range(3), slice(1, 2), datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.date(1, 2, 3), datetime.time(4), datetime.timedelta(5), decimal.Decimal("1.5"),
        fractions.Fraction(2, 3), uuid.UUID(int=7), OrderedDict(a=1), defaultdict(list, a=[1]),
        deque([1], 3), Counter("aab"), array.array("d", [1.5] * 5000),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values(echo, name):
    """Without a link it is the safe set that lets these through."""
    echo.send(VALUES[name])
    assert same(VALUES[name], echo.recv(30))


class Tagged(np.ndarray):
    """Module level, so that it can be pickled."""


def test_subclasses_of_ndarray(child, ipc):
    far = child(children.relay, ipc, ())
    with pannier.connect(far.recv()) as connection:
        connection.send(np.arange(50_000).view(Tagged))
        got = connection.recv(30)
        assert type(got) is Tagged and (got == np.arange(50_000)).all()
        masked = np.ma.array(np.arange(5), mask=[0, 1, 0, 0, 1])
        connection.send(masked)
        assert (connection.recv(30).mask == masked.mask).all()


def test_pandas(child, ipc):
    pandas = pytest.importorskip("pandas")
    far = child(children.echo, ipc)
    with pannier.connect(far.recv()) as connection:
        frame = pandas.DataFrame({"a": np.arange(50_000), "b": np.arange(50_000) * 0.5, "c": ["x"] * 50_000})
        connection.send(frame)
        pandas.testing.assert_frame_equal(frame, connection.recv(30))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 16383, 16384, 16385, 1 << 20, (1 << 20) + 1])
def test_sizes_around_the_borders(echo, size):
    sent = [bytearray(b"ab") + np.random.default_rng(size).bytes(size) for _ in range(2)]
    sent = [np.frombuffer(part, np.uint8)[2:] for part in sent]
    echo.send(sent)
    assert same(sent, echo.recv(30))


def test_ten_thousand_tiny_buffers(echo):
    sent = [np.full(number % 5, number, np.int32) for number in range(10_000)]
    message = pannier.dumps(sent)
    assert len(message.buffers) == 10_000
    echo.send_message(message)
    assert same(sent, echo.recv(30))


def test_ten_thousand_blocks(echo):
    """Each buffer has a lease of its own, or is a part of the frame."""
    sent = [np.full(16 << 10, number % 256, np.uint8) for number in range(10_000)]
    echo.send(sent, timeout=60)
    assert same(sent, echo.recv(60))


def test_shared_and_recursive(echo):
    shared = np.arange(10_000)
    cycle = {"a": shared, "b": shared}
    cycle["self"] = cycle
    echo.send(cycle)
    got = echo.recv(30)
    assert got["self"] is got and got["a"] is got["b"] and (got["a"] == shared).all()


def test_zero_copies_of_an_array_from_the_pool(child, ipc):
    """The receiver looks at the same file at the same offset, and nobody copied anything."""
    far = child(children.inspect, ipc)
    with pannier.connect(far.recv()) as connection:
        sent = pannier.empty((512, 1024), np.float32)
        sent[:] = np.random.default_rng(3).random(sent.shape)
        connection.send(sent)
        before, writable, place, theirs = far.recv()
        assert same(before, np.array(sent)) and writable
        assert place == children.where(sent)
        assert theirs.copied_bytes == 0 and theirs.leased_bytes_received == sent.nbytes
        ours = connection.stats()
        assert ours.copied_bytes == 0 and ours.leased_bytes_sent == sent.nbytes
        assert (sent != 99).all()  # the receiver wrote to pages of its own
        assert pannier.pool().leases(sent) == 1
        with pytest.raises(TimeoutError):
            pannier.pool().wait(sent, 0.05)
        far.ask("drop")
        pannier.pool().wait(sent, 5)
        assert pannier.pool().leases(sent) == 0
        # Part of an array of the pool lies in it as well, and a block may be sent again.
        connection.send(sent[256:])
        before, _, place, _ = far.recv()
        assert same(before, np.array(sent[256:])) and place == children.where(sent[256:])
        assert connection.stats().copied_bytes == 0
        far.ask("drop")
    far.join()


def test_one_copy_of_any_other_array(child, ipc):
    far = child(children.inspect, ipc)
    with pannier.connect(far.recv()) as connection:
        copied = pannier.pool().stats().copied_bytes
        sent = np.random.default_rng(4).random(1 << 18)
        connection.send(sent)
        sent[:] = 0  # its owner may do what he likes at once
        before, _, _, theirs = far.recv()
        assert before.any()
        assert connection.stats().copied_bytes == sent.nbytes and theirs.copied_bytes == 0
        assert pannier.pool().stats().copied_bytes - copied == sent.nbytes
        far.ask("drop")
    far.join()


def test_a_read_only_connection(child, ipc):
    far = child(children.inspect, ipc, (("readonly", True),))
    with pannier.connect(far.recv()) as connection:
        sent = pannier.ones(100_000)
        connection.send(sent)
        before, writable, place, _ = far.recv()
        assert before.all() and not writable and place == children.where(sent)
        far.ask("drop")
        pannier.pool().wait(sent, 5)
    far.join()


def test_writes_do_not_come_back_with_the_block(child, ipc):
    """The pages that a receiver wrote are not shown to it again with the next message there."""
    far = child(children.inspect, ipc)
    with pannier.connect(far.recv()) as connection:
        sent = pannier.empty(50_000, np.uint8)
        for value in range(5):
            sent[:] = value
            connection.send(sent)
            before, writable, _, _ = far.recv()
            assert (before == value).all() and writable
            far.ask("drop")
            pannier.pool().wait(sent, 5)
    far.join()


@pytest.mark.parametrize("before", [10, 10 << 20])
@pytest.mark.parametrize("size", [60 << 20, 70 << 20])
def test_a_long_stream_after_what_was_received(child, ipc, before, size):
    """The peer has not said yet that it took what came before, and has no reason to."""
    far = child(children.relay, ipc, (("link", False),))
    with pannier.connect(far.recv(), link=False) as connection:
        for length in (before, size):
            connection.send_message(pannier.Message(bytes(length)), timeout=30)
            assert len(memoryview(connection.recv_message(30).stream)) == length


@pytest.mark.parametrize("how", ["drop", "drop in thread"])
def test_each_buffer_goes_home_by_itself(child, ipc, how):
    far = child(children.hold, ipc)
    with pannier.connect(far.recv()) as connection:
        arrays = [pannier.ones(5000) for _ in range(10)]
        for one in arrays:
            connection.send(one)
        far.ask("receive", 10)
        assert leases_out() == 10
        far.ask(how, 3)
        pannier.pool().wait(arrays[3], 5)
        assert [pannier.pool().leases(one) for one in arrays] == [1] * 3 + [0] + [1] * 6
        assert far.ask("sum", 0) == 9 * 5000
        far.ask("drop all", 0)
        assert eventually(lambda: leases_out() == 0)
        far.pipe.send(("end", 0))
    far.join()


def test_arrays_outlive_both_ends(child, ipc):
    far = child(children.hold, ipc)
    with pannier.connect(far.recv()) as connection:
        sent = pannier.ones(50_000)
        connection.send(sent)
        far.ask("receive", 1)
    assert far.ask("sum", 0) == 50_000
    assert pannier.pool().leases(sent) == 1
    far.ask("drop all", 0)
    pannier.pool().wait(sent, 5)
    far.pipe.send(("end", 0))
    far.join()


def test_pickle_loads_by_hand(child, ipc):
    far = child(children.load_by_hand, ipc)
    with pannier.connect(far.recv()) as connection:
        sent = {"x": np.arange(10_000), "y": np.ones(3)}
        connection.send(sent)
        got, sizes, text = far.recv()
        assert same(sent, got) and sizes == [80_000, 24]
        assert "2 buffers of 80024 bytes" in text
    far.join()


def test_dumps_and_loads():
    sent = [np.arange(1000), "x", b"y"]
    message = pannier.dumps(sent)
    assert [memoryview(buffer).nbytes for buffer in message.buffers] == [8000]
    assert b"numpy" in message.stream and len(message.stream) < 300
    for got in (
        pannier.loads(message.stream, buffers=message.buffers),
        pickle.loads(message.stream, buffers=message.buffers),
        message.load(),
    ):
        assert same(sent, got) and np.shares_memory(got[0], sent[0])
    assert pannier.loads(pickle.dumps(5)) == 5


def test_messages_are_relayed_unread(child, way):
    far = child(children.relay, *way)
    with pannier.connect(far.recv()) as connection:
        sent = {"a": np.arange(50_000), "b": np.float64(3)}
        connection.send(sent)
        assert same(sent, connection.recv(30))
        connection.send_message(pannier.Message(b"not a pickle", [b"any", bytearray(50_000)]))
        message = connection.recv_message(30)
        assert bytes(message.stream) == b"not a pickle"
        assert [bytes(part) for part in message.buffers] == [b"any", bytes(50_000)]
        with pytest.raises(pickle.UnpicklingError):
            message.load()


def test_buffers_of_a_message(pair):
    near, far = pair
    near.send_message(pannier.Message(b"s", [b"read-only", bytearray(b"writable"), b""]))
    message = far.recv_message(10)
    readonly, writable, empty = message.buffers
    assert memoryview(readonly).readonly and readonly.readonly
    assert not memoryview(writable).readonly and not writable.readonly
    assert memoryview(writable).format == "B" and memoryview(writable).ndim == 1
    assert len(empty) == empty.nbytes == 0 and bytes(empty) == b""
    assert repr(writable) == "<pannier._core.View of 8 bytes, writable>"
    memoryview(writable)[:] = b"WRITABLE"
    assert bytes(writable) == b"WRITABLE"
    with pytest.raises(TypeError):
        memoryview(readonly)[0] = 0


def test_what_cannot_be_sent(pair):
    near, far = pair
    for wrong, error in [
        (pannier.Message("text"), TypeError),
        (pannier.Message(b"", [3]), TypeError),
        (pannier.Message(b"", 3), TypeError),
        (pannier.Message(b"", [memoryview(b"abcd")[::2]]), BufferError),
    ]:
        with pytest.raises(error):
            near.send_message(wrong)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        near.send(lambda: None)
    near.send("still there")
    assert far.recv(10) == "still there"
