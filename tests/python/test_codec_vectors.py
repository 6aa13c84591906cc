"""The codec beside CPython, on streams of CPython's own tests, of Python 2, of our own, and on
damaged ones: the same are accepted, they hold the same, and they are written as they were."""

import base64
import collections
import importlib.util
import io
import json
import pathlib
import pickle
import pickletools
import re
import shutil
import subprocess
import sys
import warnings

import pytest

from pannier import codec

CODEC = pathlib.Path(__file__).parents[1] / "codec"
VECTORS = CODEC / "vectors"
sys.path.insert(0, str(CODEC))
import oracle  # noqa: E402


def text_of(stream):
    """What pickletools.dis prints, and whether it then raised."""
    out = io.StringIO()
    try:
        pickletools.dis(stream, out)
    except Exception:  # struct.error, IndexError, AssertionError: not only ValueError
        return out.getvalue(), False
    return out.getvalue(), True


def check_tools(stream):
    """dis and optimize, to the byte. Where pickletools ends in an error, what it printed before.
    pickletools.optimize minds neither what it would have to write into protocol 0 for a memo
    entry that was never written."""
    expected, sound = text_of(stream)
    try:
        assert codec.dis(stream) == expected and sound
    except codec.UnpicklingError as error:
        assert not sound
        assert error.output.startswith(expected) or expected.startswith(error.output)
    try:
        smaller = pickletools.optimize(stream)
    except Exception:
        return
    if b"gNone" not in smaller:
        assert codec.optimize(stream) == smaller


def check(counts, stream, accepted=None, **options):
    """Compares; counts what came out under which name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in text, from CPython
        try:
            document = oracle.compare(stream, **options)
        except oracle.Deviation as deviation:
            counts[f"documented: {deviation}"] += 1
            return None
        counts["refused" if document is None else "accepted"] += 1
        if accepted is not None:
            assert (document is not None) == accepted, (stream[:200], options)
        if document is not None:
            check_tools(stream)
        return document


# ---- CPython's own tests.


@pytest.fixture(scope="module")
def streams_of_cpython():
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.pickletester") is None:
        pytest.skip("this Python has no package `test`: in Debian it is libpython3-testsuite")
    done = subprocess.run(
        [sys.executable, VECTORS / "gather.py"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(240)
def test_streams_of_cpythons_tests(streams_of_cpython):
    counts = collections.Counter()
    for one in streams_of_cpython:
        options = dict(one["options"])
        if "buffers" in options:
            options["buffers"] = [bytearray(base64.b64decode(b)) for b in options["buffers"]]
        stream = base64.b64decode(one["stream"])
        document = check(counts, stream, **options)
        counts["accepted by CPython"] += one["accepted"]
        if document is not None:
            check_written_again(stream, document, counts)
    print(dict(counts))
    assert counts["accepted"] > 4000 and counts["refused"] > 100, counts
    assert counts["written again"] > 2000, counts
    documented = sum(count for name, count in counts.items() if name.startswith("documented"))
    assert documented < 60, counts


def check_written_again(stream, document, counts):
    """Where CPython's own dumps(loads(x)) is x, so is ours. Its tests' classes are at hand."""
    if document.consumed != len(stream):
        return
    for protocol in range(6):
        try:
            if pickle.dumps(pickle.loads(stream), protocol) != stream:
                continue
        except Exception:
            return
        if document.encode(protocol) == stream:
            counts["written again"] += 1
        elif re.search(rb"[Rb\x81]0[ghj]", stream):
            # The arguments of a call contain its result: CPython asks the object for arguments
            # anew where it meets it inside, and so writes two of them.
            counts["documented: arguments with their own result"] += 1
        else:
            raise AssertionError(f"written differently in protocol {protocol}: {stream[:300]!r}")
        return


# ---- Streams of our own.


def own_streams():
    for line in (VECTORS / "corpus.txt").read_text().splitlines():
        if not line.startswith("#"):
            label, stream = line.split()
            yield stream, label == "accepted"


def test_streams_of_our_own():
    """vectors/make_corpus.py wrote them, with what CPython 3.8 to 3.13 make of them."""
    counts = collections.Counter()
    for stream, accepted in own_streams():
        check(counts, base64.b64decode(stream), accepted)
    assert counts["accepted"] > 500 and counts["refused"] > 300, counts


# ---- Python 2.


def streams_of_python_2():
    for line in (VECTORS / "python2.txt").read_text().splitlines():
        name, module, protocol, stream = line.split()
        yield name, module, int(protocol), base64.b64decode(stream)


@pytest.mark.parametrize("encoding", ["ASCII", "latin1", "bytes"])
def test_streams_of_python_2(encoding):
    counts = collections.Counter()
    for name, module, protocol, stream in streams_of_python_2():
        document = check(counts, stream, encoding=encoding)
        if document is None and encoding != "ASCII":
            assert name in ("classic", "classic_shared") and encoding == "bytes", (name, module)
        if encoding == "latin1" and name == "latin1":
            assert document.to_python() == "caf\xe9"
        if encoding == "bytes" and name == "latin1":
            assert document.to_python() == b"caf\xe9"
    assert counts["accepted"] > 180, counts


def python_2() -> str | None:
    """A Python 2 that runs, if there is one: what stands in the path may be a version switch."""
    path = shutil.which("python2.7")
    runs = path is not None and subprocess.run([path, "-c", ""], timeout=60).returncode == 0
    return path if runs else None


def test_python_2_is_written_as_it_was():
    """Kept apart, 8-bit strings are written again: cPickle reads what the codec writes."""
    python = python_2()
    for name, module, protocol, stream in streams_of_python_2():
        document = codec.decode(stream, encoding=None)
        again = codec.decode(document.encode(protocol), encoding=None)
        assert again == document, (name, module, protocol)
        if python is not None and protocol == 2 and module == "cPickle" and name in READ_BACK:
            done = subprocess.run(
                [python, "-c", "import sys, cPickle; a = cPickle.loads(sys.stdin.read(%d)); "
                 "b = cPickle.loads(sys.stdin.read()); assert a == b, (a, b)" % len(stream)],
                input=stream + document.encode(protocol), capture_output=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr


READ_BACK = ("ascii", "binary", "unicode", "longs", "dict", "shared", "collections", "datetimes")


# ---- Damaged and made up.


@pytest.mark.parametrize("seed", [1, 2])
def test_differential(seed):
    """A few seconds of differential.py, in a process of bounded memory."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", CODEC / "differential.py", "--seconds", "5", "--seed", str(seed)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "accepted by both" in done.stdout and "refused by both" in done.stdout
