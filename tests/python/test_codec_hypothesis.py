"""Generated graphs: what pickle writes, the codec reads and writes again, byte for byte; and what
the codec writes in another protocol, pickle reads as the same."""

import collections
import datetime
import decimal
import pickle
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pannier import codec

# Where opcodes, batches and frames change.
EDGES = [0, 1, 2, 3, 4, 255, 256, 257, 999, 1000, 1001, 2000, 2001]
TEXT_EDGES = [0, 1, 255, 256, 65535, 65536]


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


class Slots:
    __slots__ = ("a", "b")


class Filled(dict):
    """A dict with state."""


def edge_text():
    return st.builds(lambda n, c: c * n, st.sampled_from(TEXT_EDGES), st.sampled_from(["a", "\x80", "\u20ac", "\U0001f600", "\ud800"]))


def integers():
    near = [2**n + d for n in (7, 8, 15, 16, 31, 32, 63, 64, 2039, 2040, 2047) for d in (-1, 0, 1)]
    return st.one_of(st.integers(), st.sampled_from(near + [-n for n in near]))


def scalars(hashable=False):
    options = [
        st.none(), st.booleans(), integers(), st.floats(allow_nan=not hashable), st.complex_numbers(allow_nan=False),
        st.text(), st.text(st.characters()), edge_text(), st.binary(),
        st.builds(bytes, st.sampled_from(TEXT_EDGES)), st.datetimes(), st.decimals(allow_nan=False),
        st.sampled_from([int, len, Plain, collections.OrderedDict, datetime.date.today, decimal.Decimal]),
    ]  # fmt: skip
    if not hashable:
        options += [st.builds(bytearray, st.binary()), st.builds(bytearray, st.sampled_from(TEXT_EDGES))]
    return st.one_of(options)


def keys():
    return st.recursive(
        scalars(hashable=True),
        lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
        max_leaves=4,
    )


def many():
    """Containers whose sizes are at the edges of batches."""
    size = st.sampled_from(EDGES)
    return st.one_of(
        st.builds(lambda n: list(range(n)), size),
        st.builds(lambda n: tuple(range(n)), size),
        st.builds(lambda n: dict.fromkeys(range(n)), size),
        st.builds(lambda n: set(range(n)), size),
        st.builds(lambda n: frozenset(range(n)), size),
        st.builds(lambda n: ["same"] * n, size),
        st.builds(lambda n: [str(i) for i in range(n)], size),
        st.builds(lambda n: collections.deque(range(n)), size),
        st.builds(lambda n: collections.OrderedDict.fromkeys(range(n), 1), size),
    )


def plain_object(state):
    return Plain(**state)


def graphs():
    return st.recursive(
        st.one_of(scalars(), many()),
        lambda inner: st.one_of(
            st.lists(inner), st.tuples(inner), st.tuples(inner, inner), st.tuples(inner, inner, inner, inner),
            st.dictionaries(keys(), inner), st.sets(keys()), st.frozensets(keys()),
            st.builds(lambda item: [item, item, (item,)], inner),
            st.builds(plain_object, st.dictionaries(st.sampled_from(["a", "b", "key"]), inner)),
            st.builds(Filled, st.dictionaries(st.text(), inner)),
        ),
        max_leaves=12,
    )  # fmt: skip


@st.composite
def tangled(draw):
    """A graph some of whose containers also contain each other, and themselves."""
    root = [draw(graphs())]
    containers, pending, seen = [root], [root], set()
    while pending:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, (list, dict, tuple, Plain)):
            continue
        seen.add(id(value))
        if isinstance(value, (list, dict, Plain)):
            containers.append(value)
        if isinstance(value, (list, tuple)):
            pending.extend(value[:50])
        else:
            pending.extend(list((value if isinstance(value, dict) else value.__dict__).values())[:50])
    for _ in range(draw(st.integers(0, 4))):
        into, what = draw(st.sampled_from(containers)), draw(st.sampled_from(containers))
        if isinstance(into, list):
            into.append(what)
        elif type(into) is dict:
            into["tangled"] = (what, what)
        elif isinstance(into, Plain):
            into.tangled = what
    return root


TIMES = settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_written_as_pickle_writes_it(protocol):
    @TIMES
    @given(tangled())
    def check(value):
        try:
            stream = pickle.dumps(value, protocol)
        except (UnicodeEncodeError, pickle.PicklingError):  # surrogates in protocol 0's names
            return
        document = codec.decode(stream)
        assert document.consumed == len(stream)
        assert document.encode(protocol) == stream

    check()


def same(a, b):
    """Whether two graphs of builtins are one: types, order, bits, and what is shared."""
    pending, known = [(a, b)], {}
    while pending:
        a, b = pending.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, (list, dict, tuple)) and a:
            if known.setdefault(id(a), id(b)) != id(b):
                return False
            if (len(a), list(a) if isinstance(a, dict) else 0) != (len(b), list(b) if isinstance(b, dict) else 0):
                return False
            pending.extend(zip(a.values(), b.values()) if isinstance(a, dict) else zip(a, b))
            if known.get((id(a), "seen")):
                del pending[-len(a) :]
            known[id(a), "seen"] = True
        elif isinstance(a, float):
            if struct.pack("d", a) != struct.pack("d", b):
                return False
        elif a != b:
            return False
    return True


def builtins():
    return st.recursive(
        st.one_of(
            st.none(), st.booleans(), integers(), st.floats(), st.text(), edge_text(), st.binary(),
            st.builds(bytearray, st.binary()), st.sets(st.integers()), st.frozensets(st.text()),
        ),
        lambda inner: st.one_of(
            st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.one_of(st.text(), st.integers()), inner),
            st.builds(lambda item: [item, item], inner),
        ),
        max_leaves=20,
    )  # fmt: skip


@TIMES
@given(builtins(), st.integers(0, 5), st.integers(0, 5))
def test_read_as_pickle_reads_it(value, protocol, other):
    stream = pickle.dumps(value, protocol)
    document = codec.decode(stream)
    assert same(pickle.loads(document.encode(other)), value)
    if protocol == 5:
        assert same(document.to_python(), value)
    again = codec.decode(document.encode(protocol))
    assert again.isomorphic(document) and again == document


@TIMES
@given(st.lists(st.one_of(st.binary(), st.builds(bytearray, st.binary())), max_size=5), st.data())
def test_buffers_in_and_out_of_band(buffers, data):
    choice = data.draw(st.lists(st.booleans(), min_size=len(buffers), max_size=len(buffers)))
    given_out = []
    answers = iter(choice)

    def callback(buffer):
        in_band = next(answers)
        if not in_band:
            given_out.append(buffer)
        return in_band

    value = {"buffers": [pickle.PickleBuffer(one) for one in buffers], "rest": 1}
    stream = pickle.dumps(value, 5, buffer_callback=callback)
    document = codec.decode(stream, buffers=given_out)
    out = []
    assert document.encode(buffer_callback=out.append) == stream
    assert [bytes(one) for one in out] == [bytes(one) for one in given_out]
    inside = pickle.loads(document.encode())
    assert inside == {"buffers": buffers, "rest": 1}
    assert [type(one) for one in inside["buffers"]] == [type(one) for one in buffers]


@TIMES
@given(builtins(), st.integers(0, 5))
def test_tools_agree(value, protocol):
    import io
    import pickletools

    stream = pickle.dumps(value, protocol)
    out = io.StringIO()
    pickletools.dis(stream, out)
    assert codec.dis(stream) == out.getvalue()
    assert codec.optimize(stream) == pickletools.optimize(stream)
    assert same(pickle.loads(codec.optimize(stream)), value)
    assert same(codec.loads(stream), value)
