"""Arrays in pools: what they are, quotas, waiting for leases."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import children
import numpy as np
import pytest
from conftest import eventually, leases_out

import pannier


def test_arrays_are_plain():
    array = pannier.empty((30, 40), np.float32)
    assert type(array) is np.ndarray and array.flags.writeable and array.flags.c_contiguous
    assert array.shape == (30, 40) and array.dtype == np.float32
    assert array.__array_interface__["data"][0] % 4096 == 0
    assert pannier.empty(7).shape == (7,) and pannier.empty([2, np.int64(3)]).shape == (2, 3)
    assert pannier.empty((2, 3), order="F").flags.f_contiguous
    assert pannier.empty((), "i4").shape == ()
    assert not pannier.zeros((2, 3)).any() and pannier.ones(5, np.int16).sum() == 5
    assert pannier.empty(3, "M8[ns]").dtype == np.dtype("M8[ns]")
    assert pannier.empty(3, [("a", "i4"), ("b", "f8", (2,))])["b"].shape == (3, 2)


def test_the_same_block_is_used_again():
    first = pannier.empty(100_000)
    address = first.__array_interface__["data"][0]
    view = first[10:]
    del first
    assert pannier.empty(100_000).__array_interface__["data"][0] != address
    del view
    assert pannier.empty(100_000).__array_interface__["data"][0] == address


@pytest.mark.parametrize("shape", [0, (0, 3), (3, 0)])
def test_arrays_of_no_bytes(shape):
    array = pannier.empty(shape)
    assert array.size == 0 and not pannier.pool().contains(array)


def test_what_is_refused():
    for dtype in (object, [("a", "i4"), ("b", object)]):
        with pytest.raises(TypeError, match="objects"):
            pannier.empty(3, dtype)
    for shape in (-1, (2, -3)):
        with pytest.raises(ValueError, match="negative"):
            pannier.empty(shape)
    for shape in (2.5, ("a",), None):
        with pytest.raises(TypeError):
            pannier.empty(shape)
    with pytest.raises(TypeError):
        pannier.asarray([1, None])
    with pytest.raises(ValueError, match="address space"):
        pannier.empty((1 << 40, 1 << 40))
    with pytest.raises(ValueError):
        pannier.pool().leases(np.zeros(5))
    with pytest.raises(ValueError):
        pannier.Pool(-1)


def test_asarray():
    for source in ([[1, 2], [3, 4]], np.arange(12.0).reshape(3, 4).T, np.arange(9)[::2], 5):
        array = pannier.asarray(source)
        assert pannier.pool().contains(array) and (array == np.asarray(source)).all()
        assert pannier.asarray(array) is array
    assert pannier.asarray(np.asfortranarray(np.ones((2, 3)))).flags.f_contiguous
    assert pannier.asarray([1, 2], np.float32).dtype == np.float32
    part = pannier.empty((10, 10))[:5]
    assert pannier.asarray(part) is part
    strided = pannier.empty((10, 10))[:, :5]
    assert pannier.asarray(strided) is not strided
    assert pannier.asarray(np.zeros(3, "M8[s]")).dtype == np.dtype("M8[s]")


def test_stats_and_trim():
    pool = pannier.Pool(64 << 20, name="counted")
    assert pool.stats().quota == 64 << 20 and pool.stats().segments == 0
    arrays = [pool.ones((1 << 20) // 8) for _ in range(3)]
    stats = pool.stats()
    assert stats.blocks == 3 and stats.used_bytes == 3 << 20 and stats.allocations == 3
    assert stats.segment_bytes == stats.used_bytes + stats.free_bytes and stats.peers == []
    assert repr(pool) == "<pannier.Pool 'counted': 3145728 of 67108864 bytes used, 3 blocks, 0 leases out>"
    assert all(pool.contains(array) for array in arrays)
    assert not pannier.pool().contains(arrays[0])
    del arrays
    assert pool.stats().used_bytes == 0 and pool.stats().high_water_bytes == 3 << 20
    assert pool.trim() > 0 and pool.stats().segments == 0


def test_the_quota():
    pool = pannier.Pool(1 << 20, name="little")
    array = pool.empty(600_000, np.uint8)
    with pytest.raises(pannier.PoolExhausted, match="little") as error:
        pool.empty(600_000, np.uint8)
    assert isinstance(error.value, MemoryError)
    with pytest.raises(pannier.PoolExhausted):
        pool.empty(2 << 20, np.uint8, timeout=None)  # never: it does not wait for ever
    start = time.monotonic()
    with pytest.raises(pannier.PoolExhausted):
        pool.empty(600_000, np.uint8, timeout=0.3)
    assert 0.25 < time.monotonic() - start < 3
    del array
    assert pool.empty(600_000, np.uint8).size == 600_000


def test_a_receiver_that_never_lets_go(child, ipc):
    """At the deadline the sender is told who holds its memory; it goes on when that is home."""
    far = child(children.hold, ipc)
    address = far.recv()
    pool = pannier.Pool(64 << 20, name="contended")
    with pannier.connect(address, pool=pool) as connection:
        payload = np.ones(1 << 20, np.uint8)
        sent = 0
        start = time.monotonic()
        with pytest.raises(pannier.PoolExhausted) as error:
            while True:
                connection.send(payload, timeout=0.5)
                sent += 1
        assert 0.45 < time.monotonic() - start < 10
        assert sent == 64
        assert str(far.process.pid) in str(error.value) and "contended" in str(error.value)
        assert [(peer.leases, peer.bytes) for peer in pool.stats().peers] == [(64, 64 << 20)]
        assert str(far.process.pid) in pool.stats().peers[0].peer
        with pytest.raises(pannier.PoolExhausted):
            pool.empty(1000)
        # What is shorter than the threshold needs no memory of the pool.
        connection.send(np.ones(10))
        far.ask("receive", sent + 1)
        dropping = threading.Timer(0.3, far.ask, ["drop", 5])
        dropping.start()
        connection.send(payload, timeout=20)  # waits for that one
        dropping.join()  # the pipe to the child is used by one thread at a time
        far.ask("receive", 1)
        far.ask("drop all", 0)
        assert eventually(lambda: sum(peer.leases for peer in pool.stats().peers) == 0)
        for _ in range(64):
            connection.send(payload, timeout=5)
        far.ask("receive", 64)
        assert far.ask("sum", 0) == 64 << 20
        pool._core.audit()
        far.pipe.send(("end", 0))
    far.join()


def test_the_credit_of_a_peer(child, ipc):
    far = child(children.hold, ipc)
    pool = pannier.Pool(64 << 20, leases_per_peer=8)
    with pannier.connect(far.recv(), pool=pool) as connection:
        array = pool.ones(5000)
        for _ in range(8):
            connection.send(array, timeout=5)
        with pytest.raises(pannier.PoolExhausted, match=str(far.process.pid)):
            connection.send(array, timeout=0.2)
        assert pool.leases(array) == 8
        far.ask("receive", 8)
        far.ask("drop", 0)
        connection.send(array, timeout=5)
        far.pipe.send(("end", 0))
    far.join()


def test_arrays_of_another_pool_are_copied(child, ipc):
    far = child(children.echo, ipc)
    pool = pannier.Pool(8 << 20)
    with pannier.connect(far.recv(), pool=pool) as connection:
        for where, copied in [(pool, 0), (pannier.pool(), 80_000)]:
            before = connection.stats().copied_bytes
            connection.send(where.ones(10_000))
            assert connection.recv(20).sum() == 10_000
            assert connection.stats().copied_bytes - before == copied
    far.recv()


def test_collection_in_an_odd_thread(pair):
    """Arrays die in the garbage collector, on a thread that never heard of pannier."""
    near, far = pair
    for _ in range(10):
        near.send(pannier.ones(5000))
        cycle = [far.recv(5)]
        cycle.append(cycle)
    del cycle
    assert leases_out() > 0
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()
    assert leases_out() == 0


def test_a_full_pool_falls_back_to_nothing_silently(pair):
    """What PANNIER_POOL_QUOTA says is what the default pool holds."""
    assert pannier.pool().stats().quota > 0
    assert pannier.pool() is pannier.pool()
    assert "default" in repr(pannier.pool()) and pannier.pool().name == "default"


def test_warm_pools():
    pool = pannier.Pool(64 << 20, warm=8 << 20)
    assert pool.stats().segment_bytes == 8 << 20
    array = pool.empty(8 << 20, np.uint8)
    assert pool.stats().segments == 1 and pool.contains(array)
    for wrong in ({"quota": 1 << 20, "warm": 2 << 20}, {"warm": -1}, {"idle_time": -1.0}):
        with pytest.raises(ValueError):
            pannier.Pool(**wrong)


def test_idle_memory_goes_back():
    pool = pannier.Pool(64 << 20, idle_time=0.05)
    kept = pool.ones(10)
    pool.empty(20 << 20, np.uint8)
    # By allocations on their way; whoever makes none has `trim`.
    assert eventually(lambda: pool.empty(10).size and pool.stats().segments == 1)
    assert kept.sum() == 10
    pool = pannier.Pool(64 << 20, idle_time=None)
    pool.empty(10)
    assert pool.stats().segments == 1


def test_a_closed_pool():
    with pannier.Pool(64 << 20, name="brief") as pool:
        array = pool.ones(100_000)
        pool.empty(20 << 20, np.uint8)
        assert not pool.closed and pool.stats().segments == 2
    assert pool.closed and repr(pool).endswith(", closed>")
    assert pool.stats().segments == 1
    with pytest.raises(pannier.Closed, match="brief"):
        pool.empty(10)
    pool.close()
    assert array.sum() == 100_000 and pool.contains(array)
    view = array[5:]
    del array
    assert pool.stats().segments == 1
    del view
    assert pool.stats().segments == 0
    with pytest.raises(ValueError, match="default"):
        pannier.pool().close()


def test_statistics_of_peers_and_pieces(pair):
    near, far = pair
    array = pannier.ones(5000)
    near.send(array)
    time.sleep(0.05)
    [peer] = [peer for peer in pannier.pool().stats().peers if peer.leases]
    assert (peer.leases, peer.bytes) == (1, 40_000) and 0.04 < peer.oldest < 100
    far.recv(5)
    pannier.pool().wait(array, 5)
    pool = pannier.Pool(4 << 20, warm=4 << 20)
    assert pool.stats().fragmentation == 0.0
    arrays = [pool.empty(1 << 20, np.uint8) for _ in range(4)]
    assert pool.stats().fragmentation == 0.0  # nothing is free
    del arrays[0], arrays[1]
    assert pool.stats().largest_free_bytes == 1 << 20 and pool.stats().fragmentation == 0.5


DEBUGGED = """
import sys, threading, numpy as np, pannier
ipc, what = sys.argv[1:]
listener = pannier.Listener(ipc)
accepted = []
thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
thread.start()
near = pannier.connect(ipc)
thread.join()
array = pannier.ones(10_000)
near.send(array)
received = accepted[0].recv(20)
received += 1  # the receiver's own copy
if what == "early":
    array[0] = 2
del received
pannier.pool().wait(array, 20)
array[0] = 2
near.send(array)
print(accepted[0].recv(20)[0], flush=True)
"""


@pytest.mark.parametrize("what", ["early", "in time"])
def test_a_write_to_a_sent_array_is_caught(ipc, what):
    """With PANNIER_DEBUG=1 the process ends at the line that wrote too early."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", DEBUGGED, ipc, what],
        env={**os.environ, "PANNIER_DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if what == "early":
        assert done.returncode == -signal.SIGSEGV and done.stdout == ""
        line = DEBUGGED.splitlines().index("    array[0] = 2") + 1
        assert f'"<string>", line {line} in <module>' in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "")
