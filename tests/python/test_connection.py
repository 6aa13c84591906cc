"""Connection and Listener: the habits of multiprocessing.connection, time, threads, signals."""

import errno
import gc
import multiprocessing.connection
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time

import children
import numpy as np
import pytest
from conftest import descriptors, eventually, leases_out

import pannier


def test_send_and_receive_both_ways(pair):
    near, far = pair
    for number in range(100):
        near.send(("near", number))
        far.send(("far", number))
    assert [far.recv(5) for _ in range(100)] == [("near", n) for n in range(100)]
    assert [near.recv(5) for _ in range(100)] == [("far", n) for n in range(100)]
    assert near.stats().messages_sent == near.stats().messages_received == 100


def test_objects_that_travel_in_different_ways_keep_their_order(pair):
    near, far = pair
    makers = [
        lambda n: (n, "plain"),
        lambda n: {"text": "t" * 5_000, "number": n},  # too long to be unpickled of a copy
        lambda n: np.full(10, n),
        lambda n: (n, np.full(50_000, n)),
        lambda n: [n] * 1_000,
        lambda n: None,
        lambda n: b"b" * 100_000 + bytes([n % 256]),
    ]

    def send():
        for number in range(700):
            near.send(makers[number % len(makers)](number), timeout=20)

    sender = threading.Thread(target=send)
    sender.start()
    for number in range(700):
        came, sent = far.recv(20), makers[number % len(makers)](number)
        np.testing.assert_equal(came, sent)
        assert type(came) is type(sent)
    sender.join()
    assert near.stats().messages_sent == far.stats().messages_received == 700


def test_poll_is_that_of_multiprocessing(pair):
    near, far = pair
    assert far.poll() is False
    start = time.monotonic()
    assert far.poll(0.1) is False
    assert 0.09 < time.monotonic() - start < 2
    near.send(1)
    assert far.poll(5) and far.poll() and far.poll(None)
    assert far.recv() == 1 and not far.poll()
    near.close()
    assert far.poll(5)  # recv would say so at once
    with pytest.raises(EOFError):
        far.recv()


@pytest.mark.parametrize("wait", ["select", "poll", "multiprocessing"])
def test_a_descriptor_to_wait_for(pair, wait):
    near, far = pair

    def ready(timeout):
        """Until `timeout`, or there is something to receive; it may be readable for nothing."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if wait == "select":
                woken = select.select([far], [], [], left)[0]
            elif wait == "poll":
                poll = select.poll()
                poll.register(far, select.POLLIN)
                woken = poll.poll(left * 1000)
            else:
                woken = multiprocessing.connection.wait([far], left)
            if woken and far.poll():
                return True
        return False

    assert not ready(0.05)
    for count in (1, 3):
        for number in range(count):
            near.send(number)
        for number in range(count):
            assert ready(5) and far.recv(5) == number
        assert not ready(0.05)
    threading.Timer(0.1, near.send, ["late"]).start()
    assert ready(5) and far.recv(0) == "late"
    near.close()
    assert ready(5)


def test_timeouts(pair):
    near, far = pair
    for timeout in (0, -1, 0.05):
        with pytest.raises(TimeoutError) as error:
            far.recv(timeout)
        assert isinstance(error.value, pannier.DeadlineExceeded)
    with pytest.raises(ValueError, match="NaN"):
        far.recv(float("nan"))
    far.send("here already")
    assert near.poll(5)
    with pytest.raises(ValueError, match="NaN"):
        near.recv(float("nan"))
    for sent in (1, np.zeros(3)):
        with pytest.raises(ValueError, match="NaN"):
            near.send(sent, float("nan"))
    assert near.recv(5) == "here already"
    with pytest.raises(TypeError):
        far.recv("soon")
    near.send("after")
    assert far.recv(float("inf")) == "after"


def test_a_peer_that_closed(pair):
    near, far = pair
    near.send("last words")
    near.close()
    assert near.closed and not far.closed
    assert far.recv(5) == "last words"
    for kind in (EOFError, ConnectionError, pannier.ConnectionLost, pannier.Error, OSError):
        with pytest.raises(kind):
            far.recv(5)
    with pytest.raises(pannier.ConnectionLost):
        far.send("to nobody")


def test_a_closed_connection(pair):
    near, _ = pair
    near.close()
    near.close()
    for use in (lambda: near.send(1), near.recv, near.fileno, near.poll):
        with pytest.raises(pannier.Closed):
            use()
    with pytest.raises(OSError):
        near.recv()
    assert "closed" in repr(near)


def test_close_ends_a_wait(pair):
    near, _ = pair
    raised = []

    def wait():
        try:
            near.recv()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    near.close()
    thread.join(5)
    assert not thread.is_alive() and isinstance(raised[0], pannier.Closed)


def test_several_threads(pair):
    """Each of four threads sends, each of four receives; nothing is lost, doubled or mixed."""
    near, far = pair
    count = 200
    got = []

    def send(sender):
        for number in range(count):
            near.send((sender, number, np.full(3000, number)))

    def receive():
        for _ in range(count):
            sender, number, array = far.recv(30)
            assert (array == number).all()
            got.append((sender, number))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    threads += [threading.Thread(target=receive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert sorted(got) == sorted((sender, number) for sender in range(4) for number in range(count))


def test_a_waiting_thread_lets_others_run(pair):
    near, far = pair
    thread = threading.Thread(target=far.recv)
    thread.start()
    counted = sum(1 for _ in range(200_000))
    assert counted == 200_000 and thread.is_alive()
    near.send(None)
    thread.join(5)


def test_info_and_stats(child, way):
    far = child(children.echo, *way)
    address = far.recv()
    options = dict(way.options)
    link = options["link"]
    with pannier.connect(address) as connection:
        info = connection.info
        assert info.endpoint == address and info.version >= 1
        assert info.carrier == ("lane" if link and options["carrier"] == "auto" else "zmq")
        assert info.link is link and info.same_user is link and info.trusted is link
        assert info.pid == (far.process.pid if link else 0)
        assert bool(info.no_link_reason) is not link
        assert address in info.peer and info.peer in repr(connection)
        assert ("no link" in repr(connection)) is not link
        connection.send(np.zeros(1 << 17))
        connection.recv(30)
        stats = connection.stats()
        leased, inline = stats.leased_bytes_sent, stats.inline_bytes_sent
        assert (leased, inline) == ((1 << 20, 0) if link else (0, 1 << 20))
        assert stats.messages_sent == stats.messages_received == 1
    far.recv()


@pytest.mark.parametrize(
    ("listening", "connecting", "carrier"),
    [
        ("auto", "auto", "lane"),
        ("auto", "zmq", "zmq"),
        ("zmq", "auto", "zmq"),
        ("zmq", "zmq", "zmq"),
        ("lane", "auto", "lane"),
        ("auto", "lane", "lane"),
        ("lane", "zmq", None),
        ("zmq", "lane", None),
    ],
)
def test_both_sides_agree_on_a_carrier(child, ipc, listening, connecting, carrier):
    far = child(children.echo, ipc, (("carrier", listening), ("spin", 0)))
    address = far.recv()
    if carrier is None:
        with pytest.raises(pannier.Refused, match="lane"):
            pannier.connect(address, carrier=connecting)
        return
    with pannier.connect(address, carrier=connecting, spin=0.001) as connection:
        assert connection.info.carrier == carrier
        for size in (0, 10, 100_000, 10_000_000):
            stream = bytes(size)
            connection.send(stream)
            assert connection.recv(30) == stream


def test_a_carrier_that_there_cannot_be(ipc):
    for wrong in ({"carrier": "pigeon"}, {"spin": -1.0}, {"spin": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            pannier.Listener(ipc, **wrong)
    with pannier.Listener(ipc, carrier="zmq"), pytest.raises(pannier.Refused):
        pannier.connect(ipc, carrier="lane", link=False)


def test_the_inline_threshold(child, ipc):
    far = child(children.echo, ipc)
    with pannier.connect(far.recv(), inline_threshold=1000) as connection:
        for size, leased in [(999, 0), (1000, 1000)]:
            before = connection.stats().leased_bytes_sent
            connection.send(np.zeros(size, np.uint8))
            connection.recv(30)
            assert connection.stats().leased_bytes_sent - before == leased
    far.recv()


def test_a_message_too_large_for_the_peer(child, ipc):
    far = child(children.echo, ipc, (("max_message_bytes", 100_000), ("link", False)))
    with pannier.connect(far.recv()) as connection:
        with pytest.raises(pannier.LimitExceeded) as error:
            connection.send(bytes(200_000))
        assert isinstance(error.value, ValueError) and "100" in str(error.value)
        connection.send(bytes(50_000))
        assert connection.recv(30) == bytes(50_000)
    far.recv()


def test_a_listener_that_comes_later(ipc):
    got = []

    def listen():
        time.sleep(0.3)
        with pannier.Listener(ipc) as listener, listener.accept(10) as connection:
            got.append(connection.recv(10))

    thread = threading.Thread(target=listen)
    thread.start()
    with pannier.connect(ipc, timeout=10) as connection:
        connection.send("early")
    thread.join()
    assert got == ["early"]


def test_nobody_listens(ipc):
    start = time.monotonic()
    with pytest.raises(pannier.DeadlineExceeded) as error:
        pannier.connect(ipc, timeout=0.2)
    assert ipc in str(error.value) and time.monotonic() - start < 3


def test_inproc():
    """Two ends in one process, without a socket of the file system."""
    with pannier.Listener("inproc://here") as listener:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
        thread.start()
        with pannier.connect("inproc://here") as near:
            thread.join()
            sent = pannier.ones(50_000)
            near.send(sent)
            got = accepted[0].recv(20)
            got[0] = 5
            assert sent[0] == 1 and got.sum() == 50_004
        accepted[0].close()


@pytest.mark.parametrize("address", ["", "ipc:", "nonsense", "http://host"])
def test_wrong_endpoints(address):
    with pytest.raises(ValueError):
        pannier.Listener(address, insecure=True)
    with pytest.raises(ValueError):
        pannier.connect(address, timeout=1)


def test_tcp_has_to_be_asked_for():
    with pytest.raises(ValueError, match="insecure"):
        pannier.Listener("tcp://127.0.0.1:*")
    with pannier.Listener("tcp://127.0.0.1:*", insecure=True) as listener:
        assert int(listener.address.rsplit(":", 1)[1]) > 0
        assert listener.address in repr(listener)


def test_an_endpoint_in_use(ipc):
    with pannier.Listener(ipc):
        with pytest.raises(OSError) as error:
            pannier.Listener(ipc)
        assert error.value.errno == errno.EADDRINUSE
    pannier.Listener(ipc).close()


def test_accept_waits_and_closes(ipc):
    listener = pannier.Listener(ipc)
    with pytest.raises(pannier.DeadlineExceeded):
        listener.accept(0.05)
    threading.Timer(0.1, listener.close).start()
    with pytest.raises(pannier.Closed):
        listener.accept(10)


def test_several_connections_of_one_listener(child, ipc):
    others = [child(children.send_and_exit, ipc, 3, 100_000) for _ in range(3)]
    with pannier.Listener(ipc) as listener:
        connections = [listener.accept(20) for _ in others]
        for connection in connections:
            for number in range(3):
                got, array = connection.recv(20)
                assert got == number and (array == number).all()
                del array
            with pytest.raises(pannier.ConnectionLost):
                connection.recv(20)


def test_an_error_in_unpickling(pair):
    """That message is gone and its buffers are at home; the connection goes on."""
    near, far = pair
    near.send(children.Broken(pannier.ones(50_000)))
    near.send("next")
    with pytest.raises(RuntimeError, match="on purpose"):
        far.recv(5)
    gc.collect()
    assert eventually(lambda: leases_out() == 0)
    assert far.recv(5) == "next"
    near.send_message(pannier.Message(b"\x80\x05nonsense.", [bytearray(50_000)]))
    near.send_message(pannier.Message(pickle.dumps(1)[:-1]))
    near.send("again")
    for error in (pickle.UnpicklingError, (pickle.UnpicklingError, EOFError)):
        with pytest.raises(error):
            far.recv(5)
    assert far.recv(5) == "again"


def test_buffers_of_a_failed_message_go_home_before_the_exception_dies(pair):
    """Whoever logs exceptions and keeps them must not keep shared memory with them."""
    near, far = pair
    near.send_message(pannier.Message(b"\x80\x05nonsense.", [bytearray(50_000)]))
    with pytest.raises(pickle.UnpicklingError) as error:
        far.recv(5)
    assert eventually(lambda: leases_out() == 0)
    assert error.value.__traceback__ is not None


def test_fewer_and_more_buffers_than_the_stream_wants(pair):
    near, far = pair
    message = pannier.dumps(np.arange(5000))
    near.send_message(pannier.Message(message.stream, ()))
    near.send_message(pannier.Message(message.stream, [*message.buffers, b"more"]))
    with pytest.raises(pickle.UnpicklingError):
        far.recv(5)
    assert far.recv(5)[-1] == 4999


# Of a program of its own: both ends, `near` and accepted[0].
CONNECTED = """
listener = pannier.Listener({0!r})
accepted = []
thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
thread.start()
near = pannier.connect({0!r})
thread.join()
"""


@pytest.mark.parametrize("use", ["recv", "accept", "poll", "connect", "pool", "send", "call", "serve"])
def test_keyboard_interrupt(use, ipc):
    """Ctrl-C ends each wait soon, as KeyboardInterrupt, and nothing is broken after it."""
    program = f"""
import sys, threading, time, numpy as np, pannier
{CONNECTED.format(ipc)}far = accepted[0]
pool = pannier.Pool(8 << 20, leases_per_peer=4)
held = pool.empty(7 << 20, np.uint8)
def send():
    while True:
        near.send(np.zeros(1 << 20), None)
server = pannier.Server({ipc!r} + "-calls")
server.method(lambda: time.sleep(3), name="wait")
client = pannier.Client({ipc!r} + "-calls") if {use!r} == "call" and server.start() else None
waits = {{
    "call": lambda: client.wait(), "serve": server.serve_forever,
    "recv": lambda: near.recv(), "poll": lambda: near.poll(None), "accept": lambda: listener.accept(),
    "connect": lambda: pannier.connect({ipc!r} + "-nobody", timeout=None),
    "pool": lambda: pool.empty(4 << 20, np.uint8, timeout=None), "send": send,
}}
print("ready", flush=True)
try:
    waits[{use!r}]()
except KeyboardInterrupt:
    print("interrupted", flush=True)
while far.poll(0):
    far.recv()
near.send("still")
print(far.recv(10), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PANNIER_POOL_QUOTA": "64M"},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        output, errors = process.communicate(timeout=20)
    assert (output, errors) == ("interrupted\nstill\n", "")
    assert process.returncode == 0 and time.monotonic() - start < 5


def test_a_signal_handler_that_returns_does_not_end_a_wait(pair):
    near, far = pair
    called = []
    before = signal.signal(signal.SIGALRM, lambda *_: called.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        threading.Timer(0.4, near.send, ["later"]).start()
        start = time.monotonic()
        assert far.recv(10) == "later"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert called and called[0] - start < 0.35  # it ran during the wait


def test_a_signal_handler_that_receives_and_raises(pair):
    """What it took in does not hold its exception back, and is not lost."""
    near, far = pair

    def handle(*_):
        near.send("meanwhile")
        assert far.poll(5)
        raise KeyError("of the handler")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyError, match="of the handler"):
            far.recv(10)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert far.recv(5) == "meanwhile"


def test_the_first_sends_of_two_threads_with_an_import_hook(ipc):
    """None waits with the GIL for what another looks for without it."""
    program = f"""
import builtins, threading, time, pannier
{CONNECTED.format(ipc)}true_import = builtins.__import__
def slow_import(*args, **kwargs):
    time.sleep(0.1)
    return true_import(*args, **kwargs)
builtins.__import__ = slow_import
threads = [threading.Thread(target=near.send, args=(i,)) for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
builtins.__import__ = true_import
print(sorted(accepted[0].recv(5) for _ in threads))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.stdout, run.stderr) == ("[0, 1]\n", "")


def test_nothing_is_left_of_many_connections(ipc):
    """Descriptors of 100 connections are closed, and the pool forgets their peers."""
    counts = []
    for number in range(101):
        with pannier.Listener(ipc) as listener:
            accepted = []
            thread = threading.Thread(target=lambda to=accepted: to.append(listener.accept(20)))
            thread.start()
            with pannier.connect(ipc) as near:
                thread.join()
                near.send(np.zeros(10_000))
                assert accepted[0].recv(10).size == 10_000
            accepted.pop().close()
        del near, listener
        if number in (0, 100):
            gc.collect()
            counts.append(eventually(lambda: not counts or descriptors() <= counts[0]) and descriptors())
    assert counts[1] <= counts[0]
    assert eventually(lambda: not pannier.pool().stats().peers)
