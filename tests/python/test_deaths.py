"""kill -9 of either side, fifty times each: the survivor knows within a second, gets its memory
back, keeps what it received, and nothing is left behind."""

import gc
import os
import time

import children
import numpy as np
import pytest
from conftest import descriptors, eventually, leases_out

import pannier

ROUNDS = 50
AT_ONCE = 1.0  # seconds


@pytest.fixture
def rounds(ipc):
    """Numbers the rounds, and after each checks that nothing is left of it."""
    folder = os.path.dirname(ipc.removeprefix("ipc://"))
    shared = set(os.listdir("/dev/shm"))

    def count():
        before = None
        for number in range(ROUNDS):
            yield number
            assert eventually(lambda: leases_out() == 0, AT_ONCE), f"round {number}"
            pannier.pool()._core.audit()
            gc.collect()
            pannier.pool().trim()  # a segment that is kept for later use has a descriptor
            before = descriptors() if before is None else before
            assert eventually(lambda: descriptors() <= before), f"round {number}: {descriptors()}"
        assert set(os.listdir(folder)) <= {"socket"}
        assert not [name for name in set(os.listdir("/dev/shm")) - shared if "pannier" in name]
        assert pannier.pool().stats().blocks == 0

    return count()


def lost(call):
    """Calls until the connection is lost; the seconds that took."""
    start = time.monotonic()
    with pytest.raises(pannier.ConnectionLost):
        while time.monotonic() < start + 10:
            call()
    return time.monotonic() - start


def test_a_receiver_that_holds_a_hundred_leases(child, ipc, rounds):
    for _ in rounds:
        far = child(children.hold, ipc)
        with pannier.connect(far.recv()) as connection:
            arrays = [pannier.ones(2048) for _ in range(100)]
            for array in arrays:
                connection.send(array)
            far.ask("receive", 100)
            assert leases_out() == 100
            far.kill()
            assert lost(lambda: connection.recv(5)) < AT_ONCE
            assert lost(lambda: connection.send(arrays[0], timeout=5)) < AT_ONCE
            assert eventually(lambda: leases_out() == 0, AT_ONCE)
            assert all(array.sum() == 2048 for array in arrays)
        far.close()
        del arrays, array


def test_a_sender_whose_views_are_held(child, ipc, rounds):
    for _ in rounds:
        with pannier.Listener(ipc) as listener:
            far = child(children.sender, ipc)
            connection = listener.accept(20)
            far.ask("send", 20)
            held = [connection.recv(20) for _ in range(20)]
            far.kill()
            assert lost(lambda: connection.recv(5)) < AT_ONCE
            assert lost(lambda: connection.send(1, timeout=5)) < AT_ONCE
            for number, array in enumerate(held):
                assert (array == number).all()
                array[0] = 255
                assert array[0] == 255 and (array[1:] == number).all()
            connection.close()
            assert (held[7][1:] == 7).all()
            # A new connection works at once.
            other = child(children.send_and_exit, ipc, 1, 50_000)
            with listener.accept(20) as fresh:
                assert fresh.recv(20)[1].size == 50_000
        far.close()
        other.close()
        del held, array, connection, fresh, listener


def test_a_sender_in_the_middle_of_a_stream(child, ipc, rounds):
    with pannier.Listener(ipc) as listener:
        for number in rounds:
            far = child(children.sender, ipc)
            with listener.accept(20) as connection:
                far.ask("stream", 0)
                got = [connection.recv(20) for _ in range(number % 7)]
                far.kill()
                killed = time.monotonic()
                with pytest.raises(pannier.ConnectionLost):
                    while True:
                        got.append(connection.recv(20))
                assert time.monotonic() - killed < AT_ONCE
                # What arrived is whole and in order.
                assert [one for one, _ in got] == list(range(len(got)))
                assert all((array == one % 256).all() for one, array in got)
            far.close()
            del got, connection


def test_a_receiver_in_the_middle_of_a_stream(child, ipc, rounds):
    payload = np.ones(100_000, np.uint8)
    for number in rounds:
        far = child(children.receiver, ipc)
        with pannier.connect(far.recv(), timeout=20) as connection:
            for _ in range(5 + number % 40):
                connection.send(payload, timeout=20)
            far.kill()
            assert lost(lambda: connection.send(payload, timeout=20)) < AT_ONCE
            assert eventually(lambda: leases_out() == 0, AT_ONCE)
        far.close()
        del connection


def test_a_client_in_the_middle_of_a_call(child, ipc, rounds):
    """A server in this process goes on when its callers die."""
    server = pannier.Server(ipc)
    server.method(lambda array: pannier.ones(array.shape), name="ones")
    with server:
        for _ in rounds:
            far = child(children.caller, ipc)
            far.recv()
            time.sleep(0.01)
            far.kill()
            far.close()
            with pannier.Client(ipc) as client:
                assert client.ones(np.zeros(10_000), timeout=20).sum() == 10_000
