"""Server and Client: results, exceptions, time, and what becomes of arrays."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import signal
import threading
import time
import traceback
from concurrent.futures import wait

import children
import numpy as np
import pytest
from conftest import eventually, leases_out
from test_messages import VALUES, same

import pannier


@pytest.fixture
def served(child, way):
    """A child that serves, and its address."""
    far = child(children.serve, *way)
    far.address = far.recv()
    return far


@pytest.fixture
def client(served):
    with pannier.Client(served.address, timeout=30) as client:
        yield client


@pytest.fixture
def local(child, ipc):
    """The same over a link."""
    far = child(children.serve, ipc)
    far.address = far.recv()
    with pannier.Client(far.address, timeout=30) as client:
        yield far, client


def test_results(client):
    assert client.call("add", 2, 3) == 5
    assert client.add(2) == 3
    assert client.add(2, right=5) == 7
    assert (client.add(np.ones(50_000), 2) == 3).all()
    assert client.keywords() == ((), {})
    assert client.keywords(1, "b", key=[2], timeout=5) == ((1, "b"), {"key": [2]})
    assert client.call("dotted.name") == "dotted"
    for name, value in VALUES.items():
        (got,), _ = client.keywords(value)
        assert same(got, value), name


def test_a_result_from_the_pool_is_not_copied(local):
    _, client = local
    image = pannier.ones((512, 1024))
    got = client.scale(image, 3)
    assert (got == 3).all() and got.flags.writeable
    assert client.stats().copied_bytes == 0
    assert client.stats().leased_bytes_received == client.stats().leased_bytes_sent == image.nbytes


def test_arguments_go_home_when_the_handler_lets_them_go(local):
    _, client = local
    image = pannier.ones((512, 1024))
    client.scale(image, 3)
    pannier.pool().wait(image, 5)
    client.keep(image)
    assert pannier.pool().leases(image) == 1
    client.forget()
    pannier.pool().wait(image, 5)
    for kind in ("value", "refuser"):  # nor does a failed call keep them
        with pytest.raises(pannier.RemoteError if kind == "refuser" else TypeError):
            client.fail(kind, image) if kind == "value" else client.fail(kind)
        assert eventually(lambda: pannier.pool().leases(image) == 0)


def test_an_exception_is_raised_here_with_its_remote_traceback(local):
    _, client = local
    with pytest.raises(ValueError, match="no such value") as error:
        client.fail("value")
    assert type(error.value) is ValueError
    cause = error.value.__cause__
    assert isinstance(cause, pannier.errors.RemoteTraceback)
    assert "in fail" in str(cause) and "children.py" in str(cause)
    text = "".join(traceback.format_exception(error.value))
    assert text.index("On the far side") < text.index("in test_an_exception")
    with pytest.raises(children.Custom, match="from a key") as error:
        client.fail("chain")
    assert "KeyError: 'key'" in str(error.value.__cause__)
    assert client.add(1) == 2  # the server goes on


def test_exceptions_that_cannot_be_raised_here(local):
    _, client = local
    for kind, name, message in [
        ("refuser", "children.Refuser", "1 and 2"),
        ("local", "children.serve.<locals>.fail.<locals>.Local", "cannot be pickled"),
        ("exit", "builtins.SystemExit", "7"),
    ]:
        with pytest.raises(pannier.RemoteError) as error:
            client.fail(kind)
        assert error.value.type == name and error.value.message == message
        assert "children.py" in error.value.traceback
        assert name.split(".")[-1] in str(error.value) and message in str(error.value)
        if kind != "exit":
            assert client.add(1) == 2
    with pytest.raises(TypeError, match="lock"):
        pannier.dumps(threading.Lock())


def test_a_result_that_cannot_be_pickled(local):
    _, client = local
    with pytest.raises(TypeError, match="lock"):
        client.fail("result")


def test_wrong_arguments(local):
    _, client = local
    with pytest.raises(TypeError, match="positional argument"):
        client.add(1, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword"):
        client.add(1, wrong=2)


def test_exceptions_of_a_peer_that_is_not_trusted(child, ipc):
    far = child(children.serve, ipc, (("link", False),))
    address = far.recv()
    with pannier.Client(address) as client:
        with pytest.raises(pannier.RemoteError) as error:
            client.fail("value")
        assert error.value.type == "builtins.ValueError"
        with pytest.raises(pannier.ForbiddenGlobal, match="children.Custom") as error:
            client.add(children.Custom("x"), 1)
        assert "On the far side" in str(error.value.__cause__)  # it is the server that refuses
        with pytest.raises(pannier.ForbiddenGlobal):
            client.add(children.Custom("x"), 1)  # the server's refusal
    with pannier.Client(address, allow=[ValueError]) as client:
        with pytest.raises(ValueError, match="no such value"):
            client.fail("value")


def test_unknown_methods(client):
    for call in (lambda: client.nothing(), lambda: client.call("no such", 1)):
        with pytest.raises(pannier.UnknownMethod, match="add"):
            call()
    assert client.add(1) == 2
    with pytest.raises(AttributeError):
        client._private  # noqa: B018
    with pytest.raises(ValueError):
        client.call("")
    with pytest.raises(ValueError):
        client.call("x" * 2000)


def test_timeouts(client, served):
    start = time.monotonic()
    with pytest.raises(pannier.DeadlineExceeded) as error:
        client.call("wait", 1.0, timeout=0.2)
    assert 0.15 < time.monotonic() - start < 0.9
    assert "wait" in str(error.value)
    assert client.add(1) == 2  # its own reply, not the late one
    assert client.call("wait", 0.1, timeout=None) == 0.1
    with pannier.Client(served.address, timeout=0.1) as impatient:
        with pytest.raises(TimeoutError):
            impatient.wait(0.5)
        assert impatient.call("wait", 0.3, timeout=10) == 0.3


def test_a_client_of_many_threads(client):
    got = {}

    def work(number):
        for round in range(50):
            got[number, round] = client.add(np.full(3000, number), round)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert len(got) == 300
    assert all((array == number + round).all() for (number, round), array in got.items())


def test_several_clients(served):
    clients = [pannier.Client(served.address) for _ in range(5)]
    for round in range(20):
        for number, one in enumerate(clients):
            assert one.add(number, round) == number + round
    for one in clients:
        one.close()


def test_the_end_of_a_server(local):
    far, client = local
    assert client.end() == "stopping"
    assert far.recv() == "served"
    far.join()
    with pytest.raises(pannier.ConnectionLost):
        client.add(1)


def test_the_death_of_a_server_fails_its_calls_at_once(local):
    far, client = local
    raised = []

    def call(*arguments):
        try:
            client.call(*arguments)
        except Exception as error:
            raised.append((type(error), time.monotonic()))

    waiting = [threading.Thread(target=call, args=("wait", 20)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    killed = time.monotonic()
    far.kill()
    for thread in waiting:
        thread.join(5)
    assert [kind for kind, _ in raised] == [pannier.ConnectionLost] * 3
    assert all(when - killed < 1 for _, when in raised)
    assert "ended" in repr(client)
    with pytest.raises(pannier.ConnectionLost):
        client.add(1)
    assert leases_out() == 0


def test_a_closed_client(local):
    far, client = local
    raised = []

    def call():
        try:
            client.wait(20)
        except Exception as error:
            raised.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.1)
    client.close()
    client.close()
    thread.join(5)
    assert raised == [pannier.Closed]
    with pytest.raises(pannier.Closed):
        client.add(1)


def test_a_server_in_this_process(ipc):
    server = pannier.Server(ipc)

    @server.method
    def twice(value):
        return value * 2

    assert twice(4) == 8  # the decorator leaves the function alone
    assert "not serving: twice" in repr(server)
    with server as same_one:
        assert same_one is server and server.address == ipc and ", serving: twice" in repr(server)
        with pannier.Client(ipc) as client:
            assert client.twice("ab") == "abab"
            server.method(lambda value: value * 3, name="thrice")  # also while serving
            assert client.thrice("ab") == "ababab"
            server.method(lambda value: -value, name="twice")
            assert client.twice(3) == -3
        with pytest.raises((ValueError, OSError)):
            server.start()
    server.stop()
    with server.start(), pannier.Client(ipc) as client:  # again
        assert client.twice(1) == -1


def test_call_takes_what_its_signature_says(ipc):
    parameters = inspect.signature(pannier.Client.call).parameters
    assert [*parameters] == ["self", "method", "args", "timeout", "retries", "kwargs"]
    assert "far side" in pannier.Client.call.__doc__
    server = pannier.Server(ipc)
    server.method(lambda *args, **kwargs: (args, kwargs), name="all")
    with server, pannier.Client(ipc, timeout=20) as client:
        assert client.call("all") == ((), {})
        assert client.call("all", 1, timeout=5, retries=2, key=[2]) == ((1,), {"key": [2]})
        assert client.all(method="a", self=b"b") == ((), {"method": "a", "self": b"b"})
        assert client.call("all", timeout=...) == client.call("all", timeout=None) == ((), {})
        again = []
        again.append(again)
        ((array, same_one), kwargs) = client.call("all", np.arange(50_000), again, more=np.ones(9))
        assert array.sum() == 1_249_975_000 and same_one[0] is same_one and kwargs["more"].sum() == 9
        for wrong in (lambda: client.call(), lambda: client.call(3), lambda: client.call(b"all")):
            with pytest.raises(TypeError, match="method"):
                wrong()
        for how in ({"timeout": "soon"}, {"retries": "often"}):
            with pytest.raises(TypeError):
                client.call("all", **how)
        for how in ({"timeout": float("nan")}, {"timeout": None}):
            with pytest.raises(ValueError):
                client.call("all" if how["timeout"] else "\ud800", **how)
        with pytest.raises(Exception, match="pickle"):
            client.call("all", lambda: None)
        assert client.in_flight == 0 and client.call("all", 1) == ((1,), {})

    class Unready(pannier.Client):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match="__init__"):
        Unready().call("all")


def test_the_current_call_is_known_wherever_its_context_is(ipc):
    server = pannier.Server(ipc)

    @server.method
    def names():
        own = pannier.current_call().method
        copied = contextvars.copy_context().run(lambda: pannier.current_call().method)
        return own, copied, asyncio.run(asyncio.to_thread(lambda: pannier.current_call().method))

    with server, pannier.Client(ipc, timeout=20) as client:
        assert client.names() == ("names", "names", "names")
        assert client.names() == ("names", "names", "names")
    with pytest.raises(LookupError):
        pannier.current_call()


def test_wrong_methods(ipc):
    server = pannier.Server(ipc)
    with pytest.raises(TypeError):
        server.method(3)
    for name in ("", "x" * 1025):
        with pytest.raises(ValueError):
            server.method(name=name)(len)
    with pytest.raises(ValueError, match="insecure"):
        pannier.Server("tcp://127.0.0.1:*").start()


def test_serve_forever_until_interrupted(ipc):
    """A handler's KeyboardInterrupt ends serving, is told to the caller, and is raised."""
    server = pannier.Server(ipc)
    outcome = []

    @server.method
    def interrupt():
        raise KeyboardInterrupt

    def call():
        with pannier.Client(ipc) as client:
            try:
                client.interrupt()
            except pannier.RemoteError as error:
                outcome.append(error.type)

    thread = threading.Thread(target=call)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever()
    thread.join(10)
    assert outcome == ["builtins.KeyboardInterrupt"]


def test_a_server_that_always_has_calls_is_interrupted(child, ipc):
    """Its method is in C, so nothing of Python runs on its thread."""
    server = pannier.Server(ipc)
    server.method(abs)
    far = child(children.call_on_and_on, ipc, "abs", -1)
    main = threading.main_thread().ident
    timers = [
        threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT)),
        threading.Timer(20.0, server.close),  # it was not
    ]
    for timer in timers:
        timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
    finally:
        for timer in timers:
            timer.cancel()
    assert far.recv() > 0


def test_stop_from_another_thread(ipc):
    server = pannier.Server(ipc)
    threading.Timer(0.2, server.stop).start()
    server.serve_forever()
    assert server.address == ipc


# ---- What must not end a server, or keep it


def test_an_asyncio_cancelled_error_does_not_end_the_server(ipc):
    server = pannier.Server(ipc)

    @server.method
    def give_up():
        raise asyncio.CancelledError("of its own")

    server.method(abs)
    with server.start(), pannier.Client(ipc) as client:
        with pytest.raises(pannier.RemoteError, match="of its own"):
            client.call("give_up", timeout=20)
        assert client.call("abs", -1, timeout=20) == 1


@pytest.mark.parametrize("grace", [30, None])
@pytest.mark.parametrize("kind", ["function", "thread", "coroutine"])
def test_a_handler_stops_its_server_with_grace(ipc, kind, grace):
    server = pannier.Server(ipc, threads=2 if kind == "thread" else 0)

    def leave():
        time.sleep(0.2)  # the others come meanwhile
        server.stop(grace=grace)
        return "stops"

    async def leave_async():
        return leave()

    server.method(leave_async if kind == "coroutine" else leave, name="leave")
    server.method(lambda: time.sleep(0.02), name="nap")
    server.start()
    start = time.monotonic()
    with pannier.Client(ipc) as client:
        futures = [client.submit("leave"), *[client.submit("nap") for _ in range(5)]]
        assert futures[0].result(20) == "stops"
        assert [future.result(20) for future in futures[1:]] == [None] * 5
        server._thread.join(20)
        assert not server._thread.is_alive()
    assert time.monotonic() - start < 20
    server.stop()


def test_a_coroutine_stops_its_server(ipc):
    server = pannier.Server(ipc)

    @server.method
    async def leave():
        server.stop()

    server.start()
    with pannier.Client(ipc) as client, contextlib.suppress(pannier.ConnectionLost):
        client.call("leave", timeout=20)
    server._thread.join(20)
    assert not server._thread.is_alive()
    server.stop()


def test_a_client_that_is_dropped_ends(ipc):
    with pannier.Server(ipc) as server:
        server.method(abs)
        client = pannier.Client(ipc)
        assert client.submit("abs", -1).result(20) == 1
        time.sleep(0.1)  # the thread for futures goes to sleep
        del client
        gc.collect()
        assert eventually(lambda: server.stats().connections == 0, 10)


def test_a_result_larger_than_the_pool(ipc):
    with pannier.Pool(1 << 20) as pool, pannier.Server(ipc, pool=pool) as server:
        server.method(lambda: np.zeros(8 << 20, np.uint8), name="large")
        with pannier.Client(ipc) as client:
            start = time.monotonic()
            with pytest.raises(pannier.PoolExhausted, match="more than its quota"):
                client.call("large", timeout=20)
            assert time.monotonic() - start < 10


class SlowToLoad:
    def __reduce__(self):
        return time.sleep, (0.5,)


def test_cancelled_while_its_result_is_unpickled(ipc):
    with pannier.Server(ipc) as server, pannier.Client(ipc) as client:
        server.method(SlowToLoad, name="slow_to_load")
        for seconds in (0.25, 0.0):
            future = client.submit("slow_to_load")
            time.sleep(seconds)
            assert future.cancel() and future.cancel()
            done, not_done = wait([future], 10)
            assert future in done and not not_done
