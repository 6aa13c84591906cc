"""What a peer that is not trusted may have unpickled here."""

import codecs
import collections
import copyreg
import decimal
import fractions
import pickle

import children
import numpy as np
import pytest

import pannier
from pannier import trust


def restricted(stream, buffers=(), allow=()):
    load = trust.loads_for(False, "pid 1 at tcp://there", trust.names_of(allow))
    return load(stream, buffers)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def plain(value):
    return value


def test_what_is_not_in_the_safe_set():
    import os

    for attack in (
        pickle.dumps(Call(os.system, "true"), 5),
        pickle.dumps(Call(os.system, "true"), 2),
        pickle.dumps(Call(os.system, "true"), 0),
        pickle.dumps(Call(eval, "1"), 5),
        pickle.dumps(Call(getattr, "", "join"), 5),
        pickle.dumps(Call(pickle.loads, b"N."), 5),
        pickle.dumps(children.Custom("x"), 5),
        pickle.dumps(plain, 5),
        b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93.",  # a dotted name
        b"\x80\x04\x8c\x0bcollections\x8c\x11OrderedDict.clear\x93.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",
    ):
        with pytest.raises(pannier.ForbiddenGlobal) as error:
            restricted(attack)
        assert isinstance(error.value, pickle.UnpicklingError)
    with pytest.raises(pannier.ForbiddenGlobal, match=r"^pid 1 at tcp://there is not trusted.*"
                       r"posix\.system.*allow=\[\('posix', 'system'\)\]"):  # fmt: skip
        restricted(pickle.dumps(Call(os.system, "true")))


def test_persistent_ids_and_extension_codes():
    with pytest.raises(pickle.UnpicklingError):
        restricted(b"Pan id\n.")
    copyreg.add_extension("test_trust", "plain", 0x51)
    try:
        stream = pickle.dumps(plain, 5)
        assert stream[2:4] == b"\x82\x51"
        assert pickle.loads(stream) is plain  # now in the unpickler's cache of codes
        with pytest.raises(pannier.ForbiddenGlobal):
            restricted(stream)
    finally:
        copyreg.remove_extension("test_trust", "plain", 0x51)


def test_what_the_program_allowed():
    for allow in ([children.Custom], [("children", "Custom")]):
        error = restricted(pickle.dumps(children.Custom("x")), allow=allow)
        assert type(error) is children.Custom and error.args == ("x",)
        with pytest.raises(pannier.ForbiddenGlobal):
            restricted(pickle.dumps(children.Refuser), allow=allow)
    assert restricted(pickle.dumps(plain), allow=[plain]) is plain


@pytest.mark.parametrize(
    "wrong, error",
    [
        (("os", "path.join"), ValueError),
        (("os",), TypeError),
        (("os", 3), TypeError),
        ("os.system", TypeError),
        (Call.__reduce__, ValueError),
        (3, TypeError),
    ],
)
def test_wrong_lists(wrong, error, ipc):
    with pytest.raises(error):
        pannier.Listener(ipc, allow=[wrong])
    pannier.Listener(ipc).close()  # the endpoint was not taken


def test_names_of_both_numpys():
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        here = CORE.__name__.encode() + b".multiarray"
        stream = pickle.dumps(np.float64(2.5), 2).replace(here, name)
        assert restricted(stream) == 2.5


def test_a_connection_without_a_link(child, ipc):
    far = child(children.echo, ipc, (("allow", [("children", "Custom")]),))
    with pannier.connect(far.recv(), link=False) as connection:
        assert not connection.info.trusted
        connection.send({"custom": children.Custom("there and back")})
        connection.send(np.arange(50_000))
        with pytest.raises(pannier.ForbiddenGlobal, match="children.Custom"):
            connection.recv(20)
        assert connection.recv(20)[-1] == 49_999  # the connection goes on
        connection.send(children.Custom("again"))
        with pytest.raises(pannier.ForbiddenGlobal):
            connection.recv_message(20).load()
    far.recv()


def test_a_process_of_the_same_user_is_trusted(child, ipc):
    far = child(children.echo, ipc)
    with pannier.connect(far.recv()) as connection:
        assert connection.info.trusted and connection.info.pid == far.process.pid
        connection.send([children.Custom("x"), plain, np.add])
        custom, function, ufunc = connection.recv(20)
        assert custom.args == ("x",) and function is plain and ufunc is np.add
    far.recv()


# Misuses of names that are allowed. Written with the pickler's own reduce protocol where that
# can say it, else by hand.

CORE = np._core if hasattr(np, "_core") else np.core  # NumPy 1
REGISTER = b"\x8c\x0bcollections\x8c\x07Counter\x93"


class State:
    """Pickles as a call with a state."""

    def __init__(self, function, arguments, state):
        self.reduced = function, arguments, state

    def __reduce__(self):
        return self.reduced


def dtype(code, *state):
    return State(np.dtype, (code, False, True), state)


def array_of(item_type):
    return Call(CORE.numeric._frombuffer, bytearray(64), item_type, (4,), "C")


INT = dtype("i4", 3, "<", None, None, None, -1, -1, 0)
OBJECT = dtype("O8", 3, "|", None, None, None, -1, -1, 63)


def struct(fields, size=16, flags=16, names=None):
    return dtype("V16", 3, "|", None, names or tuple(fields), fields, size, 1, flags)


def endless():
    """A dtype that contains itself, through its own fields."""
    inner = {}
    outer = struct(inner, names=("a",))
    inner["a"] = (outer, 0)
    return outer


MISUSES = {
    "a class is changed": b"\x80\x05" + REGISTER + b"}\x8c\x06update\x8c\x01xsb.",
    "a class is changed, as slots": b"\x80\x05" + REGISTER + b"N}\x8c\x06update\x8c\x01xs\x86b.",
    "a class is filled": b"\x80\x05" + REGISTER + b"(\x8c\x01aK\x01u.",
    "a function is changed": b"\x80\x05cnumpy._core.numeric\n_frombuffer\n"
    b"N}\x8c\x0c__defaults__)s\x86b.",
    "a result is called": b"\x80\x05" + REGISTER + b")R)R.",
    "bytes without end": Call(bytes, 10**10),
    "a bytearray without end": Call(bytearray, 10**10),
    "a list of a range": Call(list, range(10**10)),
    "a set of a range": Call(set, range(10**10)),
    "a deque of a range": Call(collections.deque, range(10**10)),
    "a Counter of a range": Call(collections.Counter, range(10**10)),
    "a tuple of a range": Call(tuple, range(10**10)),
    "a power without end": Call(fractions.Fraction, "1e1000000000"),
    "an encoding by name": Call(codecs.encode, "x", "punycode"),
    "text of bytes": Call(str, b"x", "idna"),
    "an array without end": Call(np.ndarray, (10**10,), "f8"),
    "an array of objects from bytes": Call(np.ndarray, (1,), "O", bytearray(8)),
    "an array before its buffer": Call(np.ndarray, (1,), "<f8", bytearray(8), -8),
    "an array backwards": Call(np.ndarray, (2,), "<f8", bytearray(8), 0, (-8,)),
    "an array of a structure": Call(np.ndarray, (1,), "i4,O", bytearray(12)),
    "an array without end, empty": Call(CORE.multiarray._reconstruct, np.ndarray, (10**10,), b"b"),
    "an array of another type": Call(CORE.multiarray._reconstruct, dict, (0,), b"b"),
    "a state for a Decimal": State(decimal.Decimal, ("1",), {"a": 1}),
    "a state setter": b"\x80\x05" + REGISTER + b")R\x8c\x01xK\x01\x86b.",
    "a state of OrderedDict": State(collections.OrderedDict, (), {"keys": dict}),
    "a field behind the item": array_of(struct({"a": (INT, 13)})),
    "a field far behind the item": array_of(struct({"a": (INT, 2**40)})),
    "a field before the item": array_of(struct({"a": (INT, -4)})),
    "an item larger than its code": array_of(dtype("V16", 3, "|", None, None, None, 1 << 20, 1, 0)),
    "text larger than its code": array_of(dtype("U2", 3, "<", None, None, None, 4096, 4, 8)),
    "integers that are objects": array_of(dtype("i8", 3, "<", None, None, None, -1, -1, 63)),
    "bytes that are objects": array_of(dtype("V16", 3, "|", None, None, None, 16, 1, 27)),
    "objects that are none": array_of(dtype("O8", 3, "|", None, None, None, -1, -1, 0)),
    "a structure of objects": array_of(struct({"a": (OBJECT, 0)})),
    "a structure of objects, says so": array_of(struct({"a": (OBJECT, 0)}, flags=27)),
    "a structure of itself": array_of(endless()),
    "a subarray too large": array_of(dtype("V16", 3, "|", (INT, (5,)), None, None, 16, 4, 0)),
    "a subarray without end": array_of(dtype("V16", 3, "|", (INT, (2**31, 2**31, 2**31)), None, None, 16, 4, 0)),
    "a subarray of a number": array_of(dtype("i4", 3, "<", (INT, (1,)), None, None, -1, -1, 0)),
    "names without fields": array_of(dtype("V16", 3, "|", None, ("a",), {}, 16, 1, 0)),
    "fields of a number": array_of(dtype("i4", 3, "<", None, ("a",), {"a": (INT, 0)}, -1, -1, 0)),
    "a dtype by name": Call(np.dtype, np.float64, False, True),
    "a dtype of a list": Call(np.dtype, [("a", "O")], False, True),
    "an old dtype": array_of(dtype("V16", 1, "|", None, None, 16, 1)),
    "a dtype changed twice": b"\x80\x05\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89\x88\x87R"
    b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb.",
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuses_of_names_in_the_safe_set(name):
    attack = MISUSES[name]
    stream = attack if isinstance(attack, bytes) else pickle.dumps([attack], 5)
    before = dict(vars(collections.Counter))
    with pytest.raises(pannier.ForbiddenGlobal, match="^pid 1 at tcp://there is not trusted: "):
        restricted(stream)
    assert dict(vars(collections.Counter)) == before


def test_what_a_forged_dtype_would_do():
    """The tests above are about something: NumPy itself believes these."""
    wild = pickle.loads(pickle.dumps(struct({"a": (INT, 2**20)}), 5))
    assert wild.itemsize == 16 and wild.fields["a"][1] == 2**20


def test_arrays_as_the_cpp_codec_writes_them():
    from test_codec_arrays_from_cpp import vectors

    arrays = 0
    for name, _how, stream, buffers in vectors():
        if ":" in name or name in ("permuted", "gaps", "readonly"):
            array, expected = restricted(stream, buffers), pickle.loads(stream, buffers=buffers)
            np.testing.assert_array_equal(array, expected)
            assert array.strides == expected.strides
            arrays += 1
    assert arrays > 100


def test_flags_of_numpy_1():
    """It writes them as a signed byte."""
    aligned = {"a": (dtype("u1", 3, "|", None, None, None, -1, -1, 0), 0), "b": (INT, 8)}
    stream = pickle.dumps(struct(aligned, flags=-112), 5)
    assert restricted(stream).fields["b"][1] == 8
    for wrong in (-1, -111, -112 - 256, 63 - 256):
        with pytest.raises(pannier.ForbiddenGlobal):
            restricted(pickle.dumps(struct(aligned, flags=wrong), 5))


def test_dtypes_of_dtypes_take_linear_time():
    inner = INT
    for _ in range(30):
        inner = struct({name: (inner, 0) for name in "abcdefgh"})
    assert restricted(pickle.dumps(inner, 5)).names == tuple("abcdefgh")


@pytest.mark.parametrize("protocol", range(6))
def test_data_of_all_protocols(protocol):
    from test_messages import VALUES, same

    for name, value in VALUES.items():
        if name != "data" or protocol > 1:  # slots of protocols 0 and 1 go through copyreg
            stream = pickle.dumps(value, protocol)
            assert same(restricted(stream), pickle.loads(stream)), name


@pytest.mark.parametrize("seed", range(30))
def test_damaged_streams(seed):
    """Whatever is done to a stream, it is loaded or refused, and nothing else happens."""
    from test_messages import VALUES

    rng = np.random.default_rng(seed)
    for value in VALUES.values():
        message = pannier.dumps(value)
        stream = bytearray(message.stream)
        for _ in range(rng.integers(1, 4)):
            stream[rng.integers(2, len(stream))] = rng.integers(256)
        try:
            restricted(bytes(stream), message.buffers)
        except Exception as error:
            assert not isinstance(error, (SystemError, MemoryError)), error
