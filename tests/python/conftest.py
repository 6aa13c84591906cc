"""Other processes, endpoints, and what must be as before when a test is over."""

import collections
import contextlib
import faulthandler
import gc
import multiprocessing
import os
import tempfile
import threading
import time

import children
import pytest

import pannier

# Children are forked from a clean process that has imported what they need: as separate as
# spawned ones, and there in milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["numpy", "pannier", "children"])


class Child:
    """A process that runs a function of children.py."""

    def __init__(self, target, *arguments):
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=children.run, args=(theirs, target, arguments), daemon=True
        )
        self.process.start()
        theirs.close()

    def recv(self, timeout=30):
        """What the child says next."""
        assert self.pipe.poll(timeout), f"the child said nothing for {timeout} seconds"
        said = self.pipe.recv()
        if isinstance(said, tuple) and said and isinstance(said[0], str) and said[0] == "failed":
            pytest.fail(f"in the child: {said[1]}")
        return said

    def ask(self, *question):
        self.pipe.send(question if len(question) > 1 else question[0])
        return self.recv()

    def kill(self):
        self.process.kill()
        self.process.join(10)

    def join(self, timeout=20):
        """The end of a child that ends by itself, in good order."""
        self.process.join(timeout)
        with contextlib.suppress(EOFError):  # what it says last may be why it failed
            while self.pipe.poll(0):
                self.recv()
        assert self.process.exitcode == 0

    def close(self):
        """Ends it if it lives, and gives back what stands for it here. Idempotent."""
        if self.pipe.closed:
            return
        if self.process.is_alive():
            self.kill()
        self.process.join(10)
        self.process.close()
        self.pipe.close()


@pytest.fixture
def child():
    """child(function, *arguments) starts a Child; all are gone at the end of the test."""
    started = []

    def start(target, *arguments):
        started.append(Child(target, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def ipc():
    """A new ipc endpoint. Its path is short, as Unix sockets want it."""
    with tempfile.TemporaryDirectory(prefix="pannier-test-") as folder:
        yield f"ipc://{folder}/socket"


Way = collections.namedtuple("Way", "address options")


@pytest.fixture(params=["ipc", "tcp", "ipc without a lane", "ipc without a link", "tcp without a link"])
def way(request, ipc):
    """Each way on which messages travel: an address, and options for its Listener. Without a link
    the peers do not trust each other."""
    address = ipc if request.param.startswith("ipc") else "tcp://127.0.0.1:*"
    link = "without a link" not in request.param
    carrier = "zmq" if "without a lane" in request.param else "auto"
    return Way(address, (("insecure", True), ("link", link), ("carrier", carrier)))


@pytest.fixture
def pair(ipc):
    """Two ends of one connection, in this process."""
    with pannier.Listener(ipc) as listener:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
        thread.start()
        with pannier.connect(ipc, timeout=20) as near:
            thread.join()
            with accepted[0] as far:
                assert near.info.link and far.info.link
                yield near, far


def eventually(condition, seconds=5.0):
    """Waits until condition() is true; its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


def leases_out():
    """Leases that peers hold of this process's pool."""
    return sum(peer.leases for peer in pannier.pool().stats().peers)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """After each test, the pool is sound and empty, but for what the test's own traceback holds."""
    yield
    gc.collect()
    pannier.pool()._core.audit()


faulthandler.enable()
