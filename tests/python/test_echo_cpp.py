"""Objects through a C++ echo server and back: what Python sends comes home equal."""

import datetime
import os
import pathlib
import subprocess

import numpy as np
import pannier
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("PANNIER_BUILD_DIR", ROOT / "build/release")) / "examples"


@pytest.fixture
def client(ipc):
    program = BUILT / "echo_server"
    assert program.exists(), f"no {program}: build the examples, or set PANNIER_BUILD_DIR"
    server = subprocess.Popen([program, "--endpoint", ipc])
    with pannier.Client(ipc, timeout=60) as client:
        yield client
    server.terminate()
    assert server.wait(10) == 0


def test_a_large_array_in_a_dict(client):
    sent = {"a": np.random.default_rng(1).random((8, 1 << 20)), "b": "text", "c": [1, 2.5, None]}
    assert sent["a"].nbytes == 64 << 20
    got = client.echo(sent)
    assert list(got) == ["a", "b", "c"] and got["b"] == "text" and got["c"] == [1, 2.5, None]
    assert got["a"].dtype == np.float64 and np.array_equal(got["a"], sent["a"])
    assert got["a"].flags.writeable
    before = sent["a"][0, 0]
    got["a"][0, 0] = -1  # seen here alone
    assert sent["a"][0, 0] == before
    assert np.array_equal(client.echo(sent)["a"], sent["a"]) and got["a"][0, 0] == -1


def test_readonly_and_writable_come_back_as_they_were(client):
    readonly, writable = np.arange(100_000.0), np.arange(100_000.0)
    readonly.flags.writeable = False
    got = client.echo([readonly, writable])
    assert [array.flags.writeable for array in got] == [False, True]
    assert np.array_equal(got[0], readonly) and np.array_equal(got[1], writable)


def test_an_array_of_the_pool_is_not_copied(client):
    frame = pannier.empty((1000, 1000), np.float32)
    frame[:] = 7
    before = pannier.pool().stats().copied_bytes
    assert np.array_equal(client.echo(frame), frame)
    assert pannier.pool().stats().copied_bytes == before


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**200),
        "ünï\ud800",
        b"bytes",
        bytearray(b"x" * 70_000),
        {1: (2, {3}), "k": frozenset([4])},
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.timezone.utc),
        np.float32(2.5),
        np.zeros((0, 3), np.int16),
        np.asfortranarray(np.arange(60_000, dtype=np.uint16).reshape(200, 300)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(client, value):
    got = client.echo(value)
    assert type(got) is type(value)
    if isinstance(value, np.ndarray):
        assert got.dtype == value.dtype and got.shape == value.shape
        assert got.flags.f_contiguous == value.flags.f_contiguous
        assert np.array_equal(got, value)
    else:
        assert got == value


def test_shared_and_recursive_structure(client):
    shared = [1]
    loop = [shared, shared]
    loop.append(loop)
    got = client.echo(loop)
    assert got[0] is got[1] and got[2] is got
