"""pannier.codec: decoding, encoding, and the tools."""

import codecs
import collections
import copyreg
import gc
import io
import pickle
import pickletools
import sys
import threading
import weakref

import numpy as np
import pytest

import pannier
from pannier import codec
from pannier.codec import Extension, Global, Instance, NewObj, NewObjEx, Part, Persistent, Reduce


class Thing:
    def __init__(self, **state):
        self.__dict__.update(state)


class WithArguments:
    def __new__(cls, *, key):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"key": 1}

    def __getstate__(self):
        return None


VALUE = {
    "scalars": [None, True, False, 0, -1, 2**31, 2**63, -(2**100), 1.5, -0.0, "text", "\ud800", b"b"],
    "containers": [[], (), {}, set(), frozenset(), [1, [2]], (1, (2, 3)), {1: {2: 3}}, {4}, frozenset({5})],
    "array": bytearray(b"bytes"),
}


@pytest.mark.parametrize("protocol", range(6))
def test_there_and_back(protocol):
    stream = pickle.dumps(VALUE, protocol)
    document = codec.decode(stream)
    assert document.encode(protocol) == stream
    assert document.protocol == (protocol if protocol > 1 else 0)
    assert document.consumed == len(stream) and document.buffers_used == 0
    if protocol == 5:
        assert document.to_python() == VALUE
    assert pickle.loads(codec.decode(stream).encode(5)) == VALUE


def test_builtins_are_exactly_themselves():
    def types(value):
        if isinstance(value, dict):
            return dict, [(types(k), types(v)) for k, v in value.items()]
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value), [types(item) for item in value]
        return type(value)

    assert types(codec.decode(pickle.dumps(VALUE, 5)).to_python()) == types(VALUE)
    assert repr(codec.decode(pickle.dumps(VALUE, 5)).to_python()) == repr(VALUE)


def test_identity_and_cycles():
    inner = ["shared"]
    cycle = [inner, inner, {"inner": inner}, (inner,)]
    cycle.append(cycle)
    pair = ([],)
    pair[0].append(pair)
    found, found_pair = codec.decode(pickle.dumps([cycle, pair])).to_python()
    assert found[0] is found[1] is found[2]["inner"] is found[3][0]
    assert found[4] is found
    assert found_pair[0][0] is found_pair
    thing = Thing()
    thing.me = thing
    thing.all = frozenset([thing])
    node = codec.decode(pickle.dumps(thing)).to_python()
    assert node.state["me"] is node and next(iter(node.state["all"])) is node
    keys = codec.decode(pickle.dumps({(1, frozenset([(2, 3)])): "x", ((),): "y"})).to_python()
    assert keys == {(1, frozenset([(2, 3)])): "x", ((),): "y"}


def test_nodes():
    assert codec.decode(pickle.dumps(collections.OrderedDict)).to_python() == Global(
        "collections", "OrderedDict"
    )
    assert codec.decode(pickle.dumps(1j, 2)).to_python() == Reduce(
        Global("builtins", "complex"), (0.0, 1.0)
    )
    thing = codec.decode(pickle.dumps(Thing(a=1))).to_python()
    assert thing == NewObj(Global(__name__, "Thing"), (), (Part("state", [{"a": 1}]),))
    assert thing.state == {"a": 1} and thing.callee.parts == () and thing.callee.state is None
    assert codec.decode(pickle.dumps(WithArguments(key=1), 4)).to_python() == NewObjEx(
        Global(__name__, "WithArguments"), (), {"key": 1}
    )
    filled = codec.decode(pickle.dumps(collections.OrderedDict(a=1, b=2))).to_python()
    assert filled.parts == (Part("setitem", [("a", 1), ("b", 2)]),)
    assert codec.decode(pickle.dumps(collections.deque([1, 2]))).to_python().parts == (
        Part("append", [1, 2]),
    )
    assert codec.decode(b"(K\x01ia\nb\n.").to_python() == Instance(Global("a", "b"), (1,))
    assert codec.decode(b"Pan id\n.").to_python() == Persistent("an id")
    assert codec.decode(b"(K\x01tQ.").to_python() == Persistent((1,))
    assert codec.decode(b"\x80\x02\x82\x07.").to_python() == Extension(7)
    with pytest.raises(TypeError):
        Global()


def test_nodes_as_keys_count_by_identity():
    """Two objects of an unknown type are two keys, though nodes that say the same are equal."""
    first, second = codec.decode(pickle.dumps([Thing(), Thing()])).to_python()
    assert first == second and first is not second and len({first, second}) == 2
    assert len(codec.decode(pickle.dumps({Thing(), Thing()})).to_python()) == 2
    assert len({Global("a", "b"), Global("a", "b"), Global("a", "c")}) == 2
    assert Global("a", "b") != Global("a", "c") != ("a", "c")
    assert Reduce(Global("a", "b"), (1,)) != NewObj(Global("a", "b"), (1,))


def test_texts_of_nodes():
    node = codec.decode(pickle.dumps(Thing(a=1))).to_python()
    assert repr(node) == f"NewObj(Global({__name__!r}, 'Thing'), (), state=[{{'a': 1}}])"
    node.parts[0].values[0]["me"] = node
    assert "..." in repr(node)
    document = codec.decode(pickle.dumps([1, "a"]))
    assert repr(document) == "<pannier.codec.Document: protocol 4, 22 bytes, 2 nodes: [1, 'a']>"
    assert str(document) == "[1, 'a']" and document.nodes == 2


def test_documents_compare():
    shared = []
    a = codec.decode(pickle.dumps([shared, shared], 2))
    b = codec.decode(pickle.dumps([[], []], 5))
    assert a == b and not a.isomorphic(b) and a.isomorphic(codec.decode(a.encode()))
    assert a != codec.decode(pickle.dumps([])) and a != 3
    with pytest.raises(TypeError):
        hash(a)
    with pytest.raises(TypeError):
        codec.Document()


def test_nothing_is_imported():
    assert "this" not in sys.modules
    stream = b"cthis\nd\n."
    assert codec.decode(stream).to_python() == Global("this", "d")
    assert [use[:2] for use in codec.globals(stream)] == [("this", "d")]
    assert "this" not in sys.modules


def test_depth_is_no_obstacle():
    stream = b"(" * 200_000 + b"l" * 200_000 + b"."
    document = codec.decode(stream)
    value, depth = document.to_python(), 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 199_999
    assert codec.decode(document.encode()) == document
    assert str(document).startswith("[[[")


@pytest.mark.parametrize("wrap", [b"\x85", b"\x86"])
def test_keys_that_python_could_not_hash(wrap):
    """So deep that C's stack ends; so shared that hashing takes 2**64 steps."""
    double = b"2" if wrap == b"\x86" else b""
    stream = b"\x80\x02}K\x01" + (double + wrap) * (64 if double else 100_000) + b"Ns."
    document = codec.decode(stream)
    with pytest.raises(pannier.LimitExceeded, match="key"):
        document.to_python()
    with pytest.raises(pannier.LimitExceeded, match="key"):
        codec.loads(stream)
    assert codec.decode(document.encode(2)) == document


# ---- Bytes.


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, np.frombuffer])
def test_inputs(wrap):
    stream = pickle.dumps(["text", b"bytes"], 5)
    data = wrap(stream) if wrap is not np.frombuffer else np.frombuffer(stream, np.uint8)
    document = codec.decode(data)
    assert document.to_python() == ["text", b"bytes"] and document.encode() == stream
    assert codec.dis(data) and codec.globals(data) == [] and codec.optimize(data)
    assert codec.loads(data) == ["text", b"bytes"]
    for function in codec.decode, codec.dis, codec.optimize, codec.globals, codec.loads:
        for wrong in ("text", 3, None, memoryview(stream)[::2]):
            with pytest.raises((TypeError, BufferError)):
                function(wrong)


def test_the_input_is_kept_and_not_copied():
    data = bytearray(pickle.dumps(["x" * 100_000], 5))
    document = codec.decode(data)
    with pytest.raises(BufferError):
        data.clear()
    data[-1000] = ord("y")  # texts are borrowed
    assert "y" in document.to_python()[0]
    del document
    data.clear()


def test_buffers():
    writable, readonly = bytearray(b"writable"), b"readonly"
    given = []
    stream = pickle.dumps(
        [pickle.PickleBuffer(writable), pickle.PickleBuffer(readonly)] * 2, 5, buffer_callback=given.append
    )
    document = codec.decode(stream, buffers=iter([writable, readonly, writable, readonly, b"left over"]))
    assert document.buffers_used == 4
    first, second, third, _ = document.to_python()
    assert first is writable is third and second is readonly
    out = []
    assert document.encode(buffer_callback=out.append) == stream
    assert all(isinstance(one, pickle.PickleBuffer) for one in out)
    assert [bytes(one.raw()) for one in out] == [writable, readonly] * 2
    assert pickle.loads(document.encode()) == [writable, readonly] * 2  # in band
    mixed = []
    half = document.encode(buffer_callback=lambda one: mixed.append(one) or one.raw().readonly)
    assert pickle.loads(half, buffers=[bytes(one) for one in mixed if not one.raw().readonly])
    array = np.arange(10.0)
    message = pannier.dumps({"a": array})
    node = codec.decode(message.stream, buffers=message.buffers).to_python()["a"]
    assert node.callee.name == "_frombuffer" and np.shares_memory(np.frombuffer(node.args[0]), array)
    for wrong in (None, [], [b"1"] * 3):
        with pytest.raises(codec.UnpicklingError, match="buffers"):
            codec.decode(stream, buffers=wrong)


def test_a_readonly_view_of_a_buffer():
    stream = b"\x80\x05\x97\x98."
    writable = bytearray(b"x")
    view = codec.decode(stream, buffers=[writable]).to_python()
    assert isinstance(view, memoryview) and view.readonly and view.obj is writable
    assert codec.decode(stream, buffers=[b"x"]).to_python() == b"x"
    out = []
    assert codec.decode(stream, buffers=[writable]).encode(buffer_callback=out.append) == stream
    assert out[0].raw().readonly


def test_what_a_protocol_cannot_say_is_named():
    document = codec.decode(b"\x80\x05]}\x8c\x01k]\x97asa.", buffers=[b"x"])
    assert document.to_python() == [{"k": [b"x"]}]
    with pytest.raises(codec.PicklingError, match="buffer") as error:
        document.encode(4)
    assert error.value.path == "value[0]['k'][0]" or error.value.path == 'value[0]["k"][0]'


def test_wrong_callbacks():
    document = codec.decode(b"\x80\x05\x97.", buffers=[b"x"])
    for wrong, error in ((3, TypeError), (lambda one: 1 / 0, ZeroDivisionError)):
        with pytest.raises(error):
            document.encode(buffer_callback=wrong)

    class Truthless:
        def __bool__(self):
            raise KeyError("truth")

    with pytest.raises(KeyError):
        document.encode(buffer_callback=lambda one: Truthless())
    with pytest.raises(ValueError):
        document.encode(4, buffer_callback=print)
    with pytest.raises(codec.PicklingError):
        document.encode(4)


def test_documents_let_go():
    class Bytes(bytearray):
        pass

    data, buffer = Bytes(b"\x80\x05\x97."), Bytes(b"x")
    gone = weakref.ref(data), weakref.ref(buffer)
    document = codec.decode(data, buffers=[buffer])
    value = document.to_python()
    del data, buffer, document
    gc.collect()
    assert gone[0]() is None and gone[1]() is value
    del value
    assert gone[1]() is None
    before = len(gc.get_objects())
    for _ in range(100):
        codec.decode(pickle.dumps(VALUE)).to_python()
    gc.collect()
    assert len(gc.get_objects()) < before + 50


def test_other_threads_run_meanwhile():
    stream = pickle.dumps([[i, str(i)] for i in range(300_000)], 5)
    ran, stop = [], threading.Event()
    thread = threading.Thread(target=lambda: [ran.append(1) for _ in iter(lambda: stop.wait(1e-4), True)])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # who holds the GIL keeps it, unless he gives it up
    try:
        thread.start()
        before = len(ran)
        codec.decode(stream)
        assert len(ran) > before
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()


# ---- Python 2, protocols, limits, errors.


def test_encodings():
    stream = b"U\x02\xc3\xbcq\x00h\x00\x86."
    assert codec.decode(stream, encoding="latin1").to_python() == ("Ã¼", "Ã¼")
    assert codec.decode(stream, encoding="utf8").to_python() == ("ü", "ü")
    assert codec.decode(stream, encoding="bytes").to_python() == (b"\xc3\xbc", b"\xc3\xbc")
    assert codec.decode(stream, errors="ignore").to_python() == ("", "")
    kept = codec.decode(stream, encoding=None)
    assert type(kept.to_python()[0]) is codec.Str8 and kept.to_python()[0] == b"\xc3\xbc"
    assert repr(kept.to_python()[0]) == "Str8(b'\\xc3\\xbc')"
    assert pickle.loads(kept.encode(2), encoding="bytes") == (b"\xc3\xbc", b"\xc3\xbc")
    with pytest.raises(codec.UnpicklingError, match="ascii|ASCII"):
        codec.decode(stream)
    with pytest.raises(LookupError):
        codec.decode(stream, encoding="klingon")
    with pytest.raises(LookupError):
        codec.decode(stream, errors="klingon")


@pytest.mark.parametrize("load", [lambda *a, **k: codec.decode(*a, **k).to_python(), codec.loads])
def test_encodings_that_only_python_has(load):
    stream = b"U\x02\xc3\xbcq\x00h\x00U\x00\x87."
    for options in (
        {"encoding": "cp1252"},
        {"encoding": "utf-16"},
        {"encoding": "UTF-8", "errors": "backslashreplace"},
        {"errors": "backslashreplace"},
        {"encoding": "utf-7", "errors": "surrogateescape"},
    ):
        loaded = load(stream, **options)
        assert loaded == pickle.loads(stream, **options)
        assert loaded[0] is loaded[1]
    # Two 8-bit strings may become one key, and a str another: in the order of the stream.
    dict_of_three = b"}(U\x01\x80K\x01X\x03\x00\x00\x00\xe2\x82\xacK\x02U\x01\x80K\x03u."
    if load is not codec.loads:  # which refuses keys that are set again
        assert load(dict_of_three, encoding="cp1252") == {"\u20ac": 3}
    # What a codec names is looked at as any name.
    with pytest.raises(codec.ForbiddenGlobal):
        codec.loads(b"U\x04\xff\xfeo\x00U\x04\xff\xfes\x00\x93.", encoding="utf-16")
    with pytest.raises(codec.UnpicklingError, match="byte 0, SHORT_BINSTRING: .*can't decode"):
        load(b"U\x01\x81.", encoding="cp1252")
    with pytest.raises(LookupError, match="text encoding"):
        load(stream, encoding="hex")


def test_an_encoding_that_raises():
    def broken(error):
        raise ZeroDivisionError("of its own")

    codecs.register_error("tests.broken", broken)
    for load in codec.decode, codec.loads:
        with pytest.raises(ZeroDivisionError, match="of its own"):
            load(b"U\x01\x81.", encoding="cp1252", errors="tests.broken")


def test_names_of_python_2():
    stream = b"c__builtin__\nxrange\n."
    assert codec.decode(stream).to_python() == Global("builtins", "range")
    assert codec.decode(stream, fix_imports=False).to_python() == Global("__builtin__", "xrange")
    assert codec.decode(stream).encode(2) == b"\x80\x02c__builtin__\nxrange\nq\x00."
    assert codec.decode(stream).encode(2, fix_imports=False) == b"\x80\x02cbuiltins\nrange\nq\x00."
    assert codec.globals(stream)[0][:2] == ("builtins", "range")
    assert codec.globals(stream, fix_imports=False)[0][:2] == ("__builtin__", "xrange")


def test_protocols():
    document = codec.decode(pickle.dumps([1]))
    assert document.encode(-1) == document.encode(5) == document.encode()
    with pytest.raises(ValueError, match="must be <= 5"):
        document.encode(6)


@pytest.mark.parametrize(
    "name, limit, stream",
    [
        ("stream_bytes", 3, b"]]]]."),
        ("opcodes", 100, b"]" * 10_000 + b"."),
        ("objects", 100, b"]" * 10_000 + b"."),
        ("memo_entries", 100, b"]\x94" * 10_000 + b"."),
        ("arena_bytes", 10_000, b"]" * 10_000 + b"."),
        ("argument_bytes", 10, b"\x8c\x0bhello world."),
        ("depth", 50, b"(" * 100 + b"l" * 100 + b"."),
        ("comparisons", 10, b"}" + b"".join(b"(G" + b"\0" * 8 + b"K%ct" % i + b"Ns" for i in range(100)) + b"."),
    ],
)
def test_limits(name, limit, stream):
    codec.decode(stream, limits=codec.Limits())
    if name != "comparisons":
        with pytest.raises(pannier.LimitExceeded):
            codec.decode(stream, limits=codec.Limits(**{name: limit}))
    codec.decode(stream, limits=codec.Limits(**{name: 1 << 40}))
    for wrong in (-1, 1 << 64, 1.5, "1"):
        with pytest.raises(ValueError, match=name):
            codec.Limits(**{name: wrong})


@pytest.mark.parametrize(
    "stream, offset, opcode, message",
    [
        (b"", 0, None, "without STOP"),
        (b"\x80\x05]h\x07.", 3, "BINGET", "memo index 7"),
        (b"N\xff", 1, None, "0xff is no opcode"),
        (b"]K", 1, "BININT1", "ends inside"),
        (b"K\x01K\x02a.", 4, "APPEND", "int"),
        (b"\x80\x06.", 0, "PROTO", "protocol: 6"),
    ],
)
def test_errors_say_where(stream, offset, opcode, message):
    with pytest.raises(codec.UnpicklingError, match=message) as error:
        codec.decode(stream)
    assert (error.value.offset, error.value.opcode) == (offset, opcode)
    assert isinstance(error.value, (pickle.UnpicklingError, ValueError, pannier.Error))
    assert isinstance(pickle.loads(pickle.dumps(error.value)), codec.UnpicklingError)
    with pytest.raises(codec.UnpicklingError):
        codec.loads(stream)


# ---- Tools.


def text_of(stream, **options):
    out = io.StringIO()
    pickletools.dis(stream, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("annotate", [0, 1, 30, 55, -3])
def test_dis(protocol, annotate):
    for value in (VALUE, Thing(a=[1]), "ü\u20ac\U0001f600" * 9, ((((1,),),),), list(range(3000))):
        stream = pickle.dumps(value, protocol)
        assert codec.dis(stream, annotate) == text_of(stream, annotate=annotate)
        assert codec.dis(stream, indentlevel=2) == text_of(stream, indentlevel=2)


def test_dis_of_what_is_no_pickle():
    with pytest.raises(codec.UnpicklingError) as error:
        codec.dis(b"N]K\x01Rx")
    assert error.value.output.splitlines()[:2] == ["    0: N    NONE", "    1: ]    EMPTY_LIST"]
    assert error.value.offset == 5
    marks = b"(" * 60_000
    with pytest.raises(pannier.LimitExceeded) as error:  # 7 GB of spaces
        codec.dis(marks)
    assert error.value.output.startswith("    0: (    MARK\n")


def test_optimize():
    for value in (VALUE, [Thing(a=1)] * 3, ["x"] * 5, list(range(2000))):
        for protocol in range(6):
            stream = pickle.dumps(value, protocol)
            assert codec.optimize(stream) == pickletools.optimize(stream)
    with pytest.raises(codec.UnpicklingError):
        codec.optimize(b"N")


def test_globals():
    stream = pickle.dumps([Thing(), 1j, collections.Counter()], 4)
    uses = codec.globals(stream)
    assert [use.module + "." + use.name for use in uses] == [
        f"{__name__}.Thing", "builtins.complex", "collections.Counter",
    ]  # fmt: skip
    for use in uses:
        assert use.opcode == "STACK_GLOBAL" and stream[use.offset : use.offset + 1] == b"\x93"
    assert codec.globals(b"(ios\nsystem\n.") == [codec.GlobalUse("os", "system", 1, "INST")]
    assert codec.globals(b"\x82\x05.") == [codec.GlobalUse("", "", 0, "EXT1", 5)]
    copyreg.add_extension("this", "d", 0x77)
    try:
        assert codec.globals(b"\x82\x77.") == [codec.GlobalUse("this", "d", 0, "EXT1", 0x77)]
    finally:
        copyreg.remove_extension("this", "d", 0x77)
    with pytest.raises(codec.UnpicklingError) as error:
        codec.globals(b"cos\nsystem\n(")
    assert error.value.output == [codec.GlobalUse("os", "system", 0, "GLOBAL")]
