"""Calls of one client on several threads, and what a client and a server hold and ask for."""

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from conftest import eventually

import pannier

# Whoever ends a call drops what was to be called then, for which he needs the GIL; whoever drops
# a call has it.
CANCELS = """
import threading, time
import pannier

with pannier.Server("ipc://{folder}/s") as server, pannier.Client("ipc://{folder}/s") as client:
    server.method(lambda number: number, name="echo")
    end = time.monotonic() + 3

    def cancel():
        while time.monotonic() < end:
            client.submit("echo", 1).cancel()

    def drop():
        while time.monotonic() < end:
            pending = client._core.start("echo", b"\\x80\\x05K\\x01\\x85.", [], False, None, True)
            pending.on_done(lambda: None)
            del pending

    threads = [threading.Thread(target=each) for each in (cancel, cancel, drop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.call("echo", 2) == 2
"""

# Its text takes a Ctrl-C, which comes while the answer is made.
BROKEN = """
import os, signal
import pannier

class Broken(Exception):
    def __str__(self):
        os.kill(os.getpid(), signal.SIGINT)
        return "".join("interrupted" for _ in range(3))

server = pannier.Server("ipc://{folder}/s")

@server.method
def fail():
    raise Broken

try:
    server.serve_forever()
except KeyboardInterrupt:
    print("interrupted")
"""


def program(text, folder):
    return [sys.executable, "-c", text.format(folder=folder)]


def test_calls_are_cancelled_and_dropped_at_once(ipc):
    subprocess.run(program(CANCELS, ipc[6:].rsplit("/", 1)[0]), timeout=60, check=True)


def test_an_interrupt_while_a_failure_is_described(ipc):
    folder = ipc[6:].rsplit("/", 1)[0]
    with subprocess.Popen(program(BROKEN, folder), stdout=subprocess.PIPE, text=True) as process:
        try:
            with (
                pannier.Client(f"ipc://{folder}/s") as client,
                pytest.raises(Exception, match="interrupted|lost|Broken"),
            ):
                client.call("fail", timeout=20)
            assert process.communicate(timeout=20)[0] == "interrupted\n"
        finally:
            process.kill()


@pytest.fixture
def waiting(ipc):
    """A client whose replies another thread receives, while it waits for its own."""
    over = threading.Event()
    with pannier.Server(ipc, threads=2) as server, pannier.Client(ipc) as client:
        server.method(over.wait, name="wait")
        thread = threading.Thread(target=client.call, args=("wait", 20))
        thread.start()
        assert eventually(lambda: client.in_flight == 1)
        try:
            yield client
            assert client.in_flight == 1  # it went on receiving
        finally:
            over.set()
            thread.join()


def test_a_task_is_late_while_another_thread_receives(waiting):
    start = time.monotonic()
    with pytest.raises(pannier.DeadlineExceeded):
        asyncio.run(waiting.call_async("wait", 20, timeout=0.2))
    assert time.monotonic() - start < 10


def test_a_future_is_late_while_another_thread_receives(waiting):
    ended = threading.Event()
    future = waiting.submit("wait", 20, timeout=0.2)
    future.add_done_callback(lambda _: ended.set())
    assert ended.wait(10)
    with pytest.raises(pannier.DeadlineExceeded):
        future.result(0)


def test_an_interrupt_between_two_attempts(ipc):
    over = threading.Event()
    with pannier.Server(ipc, max_calls=1, threads=1) as server, pannier.Client(ipc) as client:
        server.method(over.wait, name="wait")
        blocker = client.submit("wait", 30)
        assert eventually(lambda: server.stats().in_flight == 1)
        timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                client.call("wait", 0, retries=8)  # the last attempt comes seconds later
        finally:
            over.set()
            timer.join()
        assert blocker.result(20)


def test_how_often_a_call_is_made_is_an_int(ipc):
    with pannier.Server(ipc) as server, pannier.Client(ipc) as client:
        server.method(abs)
        for retries in (0, True, -1, 2**31):
            assert client.call("abs", -1, retries=retries) == 1
        for wrong in ("1", 1.0, None):
            with pytest.raises(TypeError, match="integer"):
                client.call("abs", -1, retries=wrong)
        with pytest.raises(OverflowError):
            client.call("abs", -1, retries=10**30)


def test_a_client_is_made_once(ipc):
    with pannier.Server(ipc) as server, pannier.Client(ipc) as client:
        server.method(abs)
        with pytest.raises(TypeError, match="before"):
            pannier._core._Caller.__init__(client, client._core, None, None, None)
        assert client.call("abs", -1) == 1


@pytest.mark.parametrize("serves", [False, True])
def test_a_server_that_nobody_has_is_gone(ipc, serves):
    server = pannier.Server(ipc)
    server.method(abs)
    if serves:
        with server, pannier.Client(ipc) as client:
            assert client.call("abs", -1) == 1
    gone = weakref.ref(server)
    del server
    assert eventually(lambda: (gc.collect(), gone())[1] is None)


def stop():
    raise StopIteration


def test_a_method_that_fails_as_iterators_end_is_no_end(ipc):
    async def every(stream):
        return [item async for item in stream]

    with pannier.Server(ipc) as server, pannier.Client(ipc, timeout=20) as client:
        server.method(stop)
        with pytest.raises(pannier.RemoteError, match="StopIteration"):
            list(client.stream("stop"))
        with pytest.raises(pannier.RemoteError, match="StopIteration"):
            asyncio.run(every(client.stream("stop")))


class Evil:
    ran = False

    def __reduce__(self):
        return setattr, (Evil, "ran", True)


def test_what_is_connected_again_is_trusted_as_much(ipc):
    with pannier.Server(ipc) as server:
        server.method(abs)
        client = pannier.Client(ipc, timeout=10, reconnect=0.5)
        assert client.info.same_user and client.call("abs", -1) == 1
    with client, pannier.Server(ipc, link=False, insecure=True) as other:
        other.method(Evil, name="abs")
        with pytest.raises((pannier.ConnectionLost, pannier.Refused)):
            client.call("abs", -1)
        with pytest.raises((pannier.ConnectionLost, pannier.Refused)):
            client.submit("abs", -1).result(20)
        assert not Evil.ran
    assert pickle.loads(pickle.dumps(Evil())) is None and Evil.ran
