"""codec.loads: pickles from anybody. Each attack is refused, or does nothing."""

import collections
import copyreg
import datetime
import decimal
import fractions
import io
import os
import pickle
import subprocess
import sys
import uuid

import numpy as np
import pytest

import pannier
from pannier import codec, trust


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Custom:
    def __init__(self):
        self.value = 1


def refused(stream, name=None, **options):
    with pytest.raises(codec.ForbiddenGlobal) as error:
        codec.loads(stream, **options)
    if name is not None:
        assert f"{error.value.module}.{error.value.name}" == name
        assert name in str(error.value)
        assert 0 <= error.value.offset < len(stream) and error.value.opcode
    return error.value


@pytest.mark.parametrize("protocol", range(6))
def test_data(protocol):
    utc = datetime.timezone.utc
    data = {
        "builtins": [1, 2.5, "text", b"bytes", bytearray(b"x"), {1}, frozenset({2}), (None, True), 1j, range(3)],
        "times": [datetime.datetime(2020, 1, 2, tzinfo=utc), datetime.timedelta(1), datetime.date(2020, 1, 1)],
        "numbers": [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=7)],
        "containers": [collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 2)],
        "factory": collections.defaultdict(list, a=[1]),
    }
    if protocol < 2:  # slots go through copyreg._reconstructor there, which makes anything
        data["numbers"].pop()
    stream = pickle.dumps(data, protocol)
    assert codec.loads(stream) == data == codec.loads(bytearray(stream))
    array = codec.loads(pickle.dumps(np.arange(6.0).reshape(2, 3), protocol))
    np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3))


def test_buffers():
    array = np.arange(5)
    message = pannier.dumps([array])
    (found,) = codec.loads(message.stream, buffers=iter(message.buffers))
    assert np.shares_memory(found, array)
    with pytest.raises(codec.UnpicklingError):
        codec.loads(message.stream)


def test_what_the_caller_allows():
    stream = pickle.dumps([Custom()])
    error = refused(stream, f"{__name__}.Custom")
    assert stream[error.offset : error.offset + 1] == b"\x93" and error.opcode == "STACK_GLOBAL"
    assert isinstance(error, pickle.UnpicklingError)
    for allow in ([Custom], [(__name__, "Custom")]):
        assert codec.loads(stream, allow=allow)[0].value == 1
    with pytest.raises(ValueError):
        codec.loads(stream, allow=[("os", "path.join")])


def test_names_of_python_2_reach_what_is_allowed():
    stream = b"\x80\x02cUserDict\nUserDict\n."
    assert codec.loads(stream, allow=[collections.UserDict]) is collections.UserDict
    refused(stream, allow=[("UserDict", "UserDict")], fix_imports=True)
    refused(stream, allow=[collections.UserDict], fix_imports=False)
    assert codec.loads(b"c__builtin__\nxrange\n(I0\nI3\nI1\ntR.") == range(3)
    assert codec.loads(b"U\x01\xe9.", encoding="latin1") == "é"
    assert codec.loads(b"U\x01\xe9.", encoding="bytes") == b"\xe9"


def test_limits():
    stream = pickle.dumps([[1, 2], [3, [4]]])
    assert codec.loads(stream, limits=codec.Limits()) == [[1, 2], [3, [4]]]
    assert codec.loads(stream, limits=codec.Limits(depth=4, objects=10)) == [[1, 2], [3, [4]]]
    for limits in codec.Limits(depth=2), codec.Limits(objects=2), codec.Limits(stream_bytes=9):
        with pytest.raises(codec.LimitExceeded):
            codec.loads(stream, limits=limits)


# ---- The manual's example.


class RestrictedUnpickler(pickle.Unpickler):
    """What the manual of pickle shows: builtins of a short list alone."""

    def find_class(self, module, name):
        if module == "builtins" and name in {"range", "complex", "set", "frozenset", "slice"}:
            import builtins

            return getattr(builtins, name)
        raise pickle.UnpicklingError(f"global '{module}.{name}' is forbidden")


@pytest.mark.parametrize(
    "stream, answer",
    [
        (pickle.dumps([1, 2, range(15)]), [1, 2, range(15)]),
        (b"cos\nsystem\n(S'echo hello world'\ntR.", "posix.system os.system"),
        (b'cbuiltins\neval\n(S\'getattr(__import__("os"), "system")("echo hello world")\'\ntR.', "builtins.eval"),
    ],
)
def test_the_example_of_the_manual(stream, answer):
    if isinstance(answer, list):
        assert codec.loads(stream) == answer == RestrictedUnpickler(io.BytesIO(stream)).load()
        return
    with pytest.raises(pickle.UnpicklingError):
        RestrictedUnpickler(io.BytesIO(stream)).load()
    error = refused(stream)
    assert f"{error.module}.{error.name}" in answer


# ---- Attacks that an allow-list must stop.

LIST_OF_NAMES = [("pathlib", "PurePosixPath"), ("collections", "UserList")]


def test_dotted_names():
    for module, name in (("pathlib", "os.system"), ("collections", "OrderedDict.clear"), ("numpy", "f2py.os.system")):
        stream = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        stream += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
        refused(stream, f"{module}.{name}", allow=LIST_OF_NAMES)


def test_a_module_is_not_its_names():
    refused(b"cpathlib\nos\n.", "pathlib.os", allow=LIST_OF_NAMES)
    refused(b"ccollections\n_sys\n.", "collections._sys")
    refused(b"cnumpy\nload\n.", "numpy.load")


def test_getattr_is_not_safe():
    refused(b"cbuiltins\ngetattr\n(cpathlib\nPurePosixPath\nS'x'\ntR.", "builtins.getattr", allow=LIST_OF_NAMES)
    for name in ("eval", "exec", "__import__", "open", "getattr", "type", "map", "compile", "vars"):
        refused(f"cbuiltins\n{name}\n.".encode(), f"builtins.{name}")
        refused(f"c__builtin__\n{name}\n.".encode(), f"builtins.{name}")


def test_build_on_a_global():
    before = dict(vars(collections.Counter)), dict(vars(collections.UserList))
    for target in (b"ccollections\nCounter\n", b"ccollections\nUserList\n"):
        for change in (b"}S'update'\nNsb", b"(N}S'update'\nNstb", b"(S'x'\nI1\nu", b"S'x'\na", b"(I1\n\x90"):
            for rest in (b".", b"0N."):
                refused(b"\x80\x04" + target + change + rest, allow=LIST_OF_NAMES)
    assert before == (dict(vars(collections.Counter)), dict(vars(collections.UserList)))


def test_memo_numbers_hide_no_name():
    """MEMOIZE counts entries, PUT says a number: a reader that counts in another way sees other
    names."""
    refused(b"\x80\x04\x8c\x02osp1\n0\x8c\x06systemp0\n0g1\ng0\n\x93.", "os.system")
    refused(b"\x80\x04\x8c\x08builtins\x94\x8c\x04evalp5\n\x940h\x00h\x02\x93.", "builtins.eval")
    refused(b"\x80\x04\x8c\x08builtins\x94\x8c\x04listq\x01\x8c\x04evalq\x01h\x00h\x01\x93.", "builtins.eval")


@pytest.mark.parametrize(
    "function, arguments",
    [(bytes, (10**10,)), (bytearray, (10**10,)), (list, (range(10**10),)), (np.zeros, (10**10,)),
     (np.ndarray, ((10**10,), "f8")), (fractions.Fraction, ("1e1000000000",)), (pow, (10, 10**10)),
     (int, ("1" * 10**5,)), (collections.deque, (range(10**10),))],
)  # fmt: skip
@pytest.mark.parametrize("hidden", [False, True])
def test_arguments_that_allocate(function, arguments, hidden):
    """Also where the result does not hold what was made: popped, left on the stack, overwritten."""
    stream = pickle.dumps(Call(function, *arguments), 4)
    if not hidden:
        refused(stream)
        return
    call = stream[11:-1] if stream[2] == 0x95 else stream[2:-1]  # without PROTO, FRAME and STOP
    for one in (
        b"\x80\x04" + call + b"0N.",
        b"\x80\x04" + call + b"N.",
        b"\x80\x04(" + call + b"1N.",
        b"\x80\x04]" + call + b"a0N.",
    ):
        refused(one)


def test_what_is_overwritten():
    """What a dict or list held before is seen by nobody who looks at the result."""
    for stream in (b"}S'a'\nI1\nsS'a'\nI2\ns.", b"(S'a'\nI1\nS'a'\nI2\nd.", b"]I1\naI0\nI2\ns."):
        pickle.loads(stream)
        codec.decode(stream)
        with pytest.raises(codec.UnpicklingError, match="twice|again"):
            codec.loads(stream)


def test_fields_changed_after_use():
    """A dtype keeps the dict of its fields: a forged one, used, and then put right, would be
    called in order by who sees the end."""
    forged = (
        b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00V8\x89\x88tR"
        b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85}q\x01X\x01\x00\x00\x00a"
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tRK\x00\x86sK\x08K\x01K\x10tb"
    )
    right = b"h\x01X\x01\x00\x00\x00acnumpy\ndtype\n(X\x02\x00\x00\x00i8\x89\x88tRK\x00\x86s"
    with pytest.raises((codec.ForbiddenGlobal, codec.UnpicklingError)):
        codec.loads(b"(" + forged + right + b"t.")


def test_a_nested_loader():
    inner = pickle.dumps(Call(os.system, "true"))
    for loader in (pickle.loads, pickle._loads, pickle.Unpickler):
        refused(pickle.dumps(Call(loader, inner)))
    refused(b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.", "torch.storage._load_from_bytes")
    refused(b"cnumpy\nload\n(S'x'\ntR.", "numpy.load")


def test_extension_codes_and_inst():
    copyreg.add_extension("os", "system", 0x61)
    try:
        refused(b"\x80\x02\x82\x61.")
        refused(b"\x80\x02\x83\x61\x00.")
        refused(b"\x80\x02\x84\x61\x00\x00\x00.")
        refused(b"\x80\x02\x82\x61S'true'\n\x85R.", allow=[Custom])
    finally:
        copyreg.remove_extension("os", "system", 0x61)
    refused(b"(S'true'\nios\nsystem\n.", "os.system")
    refused(b"(cos\nsystem\nS'true'\no.", "os.system")
    refused(b"\x80\x02cos\nsystem\n)\x81.", "os.system")
    refused(b"\x80\x04cos\nsystem\n)}\x92.", "os.system")


def test_results_are_not_called():
    refused(b"ccollections\nCounter\n(tR(tR.")
    refused(b"ccollections\nCounter\n(tR(t\x81.")
    with pytest.raises(pickle.UnpicklingError):
        codec.loads(b"Pid\n.")


def test_nobody_writes_between_check_and_load():
    """A bytearray may change between the two: it is copied first."""

    class Changing(bytearray):
        pass

    good = pickle.dumps([1, 2, 3])
    data = Changing(good)
    load = trust.SafeLoads({}, "test")
    names = load._names

    class Names:
        def check(self, stream, *rest):
            names.check(stream, *rest)
            data[:] = b"cos\nsystem\n(S'false'\ntR.".ljust(len(good), b".")[: len(good)]

    load._names = Names()
    assert load(data, None) == [1, 2, 3] and data != good


# ---- Memory and time.

RUN = """
import resource, sys, time
from pannier import codec
import pannier, pickle
stream = eval(sys.stdin.read())
codec.loads(pickle.dumps([1]))
before = resource.getrusage(resource.RUSAGE_SELF)
how = "loaded"
try:
    codec.loads(stream)
except (pickle.UnpicklingError, pannier.Error, ValueError, TypeError, OverflowError, MemoryError) as error:
    how = type(error).__name__
after = resource.getrusage(resource.RUSAGE_SELF)
print(how, len(stream), (after.ru_maxrss - before.ru_maxrss) << 10, after.ru_utime + after.ru_stime
      - before.ru_utime - before.ru_stime)
"""

HOSTILE = {
    "a length of 2**62": r"b'\x80\x04\x8e' + bytes(7) + b'\x40' + b'x.'",
    "a frame of 2**62": r"b'\x80\x04\x95' + bytes(7) + b'\x40' + b'N.'",
    "a long of 2**31": r"b'\x80\x02\x8b\xff\xff\xff\x7f' + b'x.'",
    "a memo index of 2**31": r"b'\x80\x02Nr\xff\xff\xff\x7f.'",
    "a memo index of 2**60": r"b'Np%d\n.' % 2**60",
    "marks": r"b'(' * 200_000 + b'.'",
    "lists in lists": r"b'(' * 200_000 + b'l' * 200_000 + b'.'",
    "empty lists": r"b']' * 500_000 + b'.'",
    "empty dicts": r"b'}' * 500_000 + b'.'",
    "tuples of one tuple twice": r"b'\x80\x02N' + b'2\x86' * 100_000 + b'.'",
    "a key of 2**64 parts": r"b'\x80\x02}K\x01' + b'2\x86' * 64 + b'Ns.'",
    "a key of 2**64 parts, dropped": r"b'\x80\x02}K\x01' + b'2\x86' * 64 + b'Ns0N.'",
    "a key 100,000 deep": r"b'\x80\x02}K\x01' + b'\x85' * 100_000 + b'Ns.'",
    "an element of 2**64 parts": r"b'\x80\x04\x8f(K\x01' + b'2\x86' * 64 + b'\x90.'",
    "a set of a list of such": r"b'\x80\x02cbuiltins\nset\n](K\x01' + b'2\x86' * 64 + b'e\x85R.'",
    "such a key again and again": r"b'\x80\x02K\x01' + b'2\x86' * 18 + b'q\x000' + b'}(' + b'h\x00N' * 100_000 + b'u.'",
    "one long list made a set, often": r"b'\x80\x02](' + b'K\x01' * 100_000 + b'eq\x00cbuiltins\nset\nq\x01' + b'h\x01h\x00\x85R' * 100_000 + b't.'",
    "long bytes copied, often": r"b'\x80\x04B' + (200_000).to_bytes(4, 'little') + bytes(200_000) + b'q\x00cbuiltins\nbytearray\nq\x01(' + b'h\x01h\x00\x85R' * 50_000 + b't.'",
    "a fraction of long numbers": r"b'\x80\x02cfractions\nFraction\n\x8b' + (100_000).to_bytes(4, 'little') + b'\x7f' * 100_000 + b'\x8b' + (100_000).to_bytes(4, 'little') + b'\x55' * 100_000 + b'\x86R.'",
    "digits": r"b'I' + b'9' * 1_000_000 + b'\n.'",
    "long digits": r"b'L' + b'9' * 1_000_000 + b'L\n.'",
    "escapes": r"b'V' + rb'\u0041' * 100_000 + b'\n.'",
    "equal keys that are tuples": r"b'\x80\x02}(' + b''.join(b'(' + b'K\x00' * 40 + b'M' + (i % 65536).to_bytes(2, 'little') + b'tN' for i in range(5000)) + b'u.'",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_memory_and_time_are_bounded(name):
    """In a process of its own. CPython alone would take terabytes or years for some of these."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=HOSTILE[name], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    how, length, memory, seconds = done.stdout.split()
    assert int(memory) < (64 << 20) + 400 * int(length), done.stdout
    assert float(seconds) < 20, done.stdout
