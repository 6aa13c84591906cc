"""The end of the interpreter, forked children, subinterpreters."""

import os
import subprocess
import sys
import textwrap

import children
import numpy as np
import pytest
from conftest import leases_out

import pannier


def run(program, *arguments, code=0, timeout=30):
    """Runs a program; its output. Fails if it writes to standard error or ends otherwise."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (done.stderr, done.returncode) == ("", code)
    return done.stdout


@pytest.mark.parametrize("way", ["ipc", "tcp"])
def test_exit_with_everything_alive(ipc, way):
    """Arrays of the pool, received ones, messages, connections, a listener, a server, a client."""
    run(
        """
        import sys, threading, numpy as np, pannier
        way, ipc = sys.argv[1:]
        listener = pannier.Listener(ipc if way == "ipc" else "tcp://127.0.0.1:*", insecure=True)
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
        thread.start()
        near = pannier.connect(listener.address)
        thread.join()
        far = accepted[0]
        own = pannier.ones(100_000)
        near.send({"own": own, "other": np.ones(100_000), "small": np.ones(3)})
        received = far.recv(20)
        near.send([own, own])
        message = far.recv_message(20)
        near.send("never received")
        pool = pannier.Pool(8 << 20)
        array = pool.ones(1000)
        sys.kept = [received, message, array[::2], memoryview(array)]  # outlives this module
        server = pannier.Server(ipc + "-calls").start()
        server.method(lambda: pannier.ones(9000), name="ones")
        client = pannier.Client(ipc + "-calls")
        sys.kept.append(client.ones())
        cycle = [received, near, server]
        cycle.append(cycle)
        """,
        way,
        ipc,
    )


@pytest.mark.parametrize("use", ["recv", "accept", "serve", "call", "send", "handler"])
def test_exit_while_threads_wait(ipc, use):
    """Daemon threads that wait inside the library when the interpreter ends do not crash it."""
    run(
        """
        import sys, threading, time, numpy as np, pannier
        use, ipc = sys.argv[1:]
        listener = pannier.Listener(ipc)
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
        thread.start()
        near = pannier.connect(ipc)
        thread.join()
        server = pannier.Server(ipc + "-calls")
        server.method(lambda: time.sleep(0.5), name="wait")
        server.start()
        client = pannier.Client(ipc + "-calls")
        def quietly(call):
            try:
                while True:
                    call()
            except (pannier.Error, RuntimeError):
                pass
        call = {
            "recv": near.recv, "accept": listener.accept, "serve": lambda: time.sleep(10),
            "call": lambda: client.wait(), "send": lambda: near.send(bytes(1 << 20)),
            "handler": lambda: client.wait(timeout=0.05),
        }[use]
        for _ in range(3):
            threading.Thread(target=quietly, args=(call,), daemon=True).start()
        time.sleep(0.3)
        """,
        use,
        ipc,
    )


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "del connection", "connection.close()"])
def test_what_was_sent_just_before_the_end_arrives(ipc, end, way):
    program = """
        import sys, numpy as np, pannier
        connection = pannier.connect(sys.argv[1], link=sys.argv[2] == "True")
        for number in range(20):
            connection.send((number, np.full(200_000, number, np.uint8)))
        """
    options = dict(way.options)
    with pannier.Listener(way.address, **options) as listener:
        sender = subprocess.Popen(
            [sys.executable, "-c", f"{textwrap.dedent(program)}\n{end}", listener.address, str(options["link"])]
        )
        with listener.accept(20) as connection:
            assert sender.wait(20) == 0
            for number in range(20):
                got, array = connection.recv(20)
                assert got == number and array.size == 200_000 and (array == number).all()
            with pytest.raises(pannier.ConnectionLost):
                connection.recv(20)


def test_the_end_of_a_child_of_multiprocessing(child, ipc):
    """It ends without atexit; what it sent arrives all the same."""
    with pannier.Listener(ipc) as listener:
        far = child(children.send_and_exit, ipc, 20, 200_000)
        with listener.accept(20) as connection:
            assert far.recv() == "sent"
            far.join()
            for number in range(20):
                got, array = connection.recv(20)
                assert got == number and (array == number).all()


def test_a_forked_child_owns_nothing(pair):
    """What it inherited raises in it; its end takes nothing from its parent; it may begin anew."""
    near, far = pair
    own = pannier.ones(50_000)
    near.send(own)
    received = far.recv(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        try:
            for use in (
                lambda: near.send(1),
                lambda: near.recv(1),
                lambda: near.poll(),
                near.fileno,
                lambda: near.send(own),
            ):
                try:
                    use()
                    said.append("nothing raised")
                except pannier.Forked:
                    said.append("Forked")
                except BaseException as error:
                    said.append(repr(error))
            said.append(str(float(received.sum() + own.sum())))  # still readable
            fresh = pannier.ones(10)
            said.append(str(pannier.pool().contains(fresh) and not pannier.pool().contains(own)))
            del received, own
        except BaseException as error:
            said.append(repr(error))
        os.write(writing, "|".join(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    assert said == "Forked|Forked|Forked|Forked|Forked|100000.0|True"
    assert leases_out() == 1  # the child's copy of `received` was not handed back
    assert received.sum() == 50_000
    near.send("goes on")
    assert far.recv(10) == "goes on"
    del received
    pannier.pool().wait(own, 5)


def test_a_forked_child_that_ends_in_good_order(ipc):
    """Its interpreter runs its own end, with the parent's objects in it."""
    output = run(
        """
        import os, sys, threading, pannier
        listener = pannier.Listener(sys.argv[1])
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(20)))
        thread.start()
        near = pannier.connect(sys.argv[1])
        thread.join()
        near.send(pannier.ones(50_000))
        array = accepted[0].recv(20)
        if os.fork() == 0:
            with pannier.Listener(sys.argv[1] + "-child"):
                sys.exit(0)
        assert os.wait()[1] == 0
        near.send("after")
        print(accepted[0].recv(20), array.sum())
        """,
        ipc,
    )
    assert output == "after 50000.0\n"


def test_a_connection_of_a_forked_child(child, ipc):
    """A process that uses pannier forks; the child makes a connection of its own."""
    far = child(children.echo, ipc)
    address = far.recv()
    output = run(
        """
        import os, sys, numpy as np, pannier
        parents = pannier.ones(5)
        if os.fork() == 0:
            with pannier.connect(sys.argv[1]) as connection:
                connection.send(np.arange(50_000))
                assert connection.recv(20)[-1] == 49_999
                connection.send(pannier.ones(50_000))
                assert connection.recv(20).sum() == 50_000 and connection.stats().copied_bytes == 400_000
            sys.exit(0)
        print(os.wait()[1])
        """,
        address,
    )
    assert output == "0\n"
    far.recv()


def test_a_subinterpreter_is_refused():
    output = run(
        """
        import pannier
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        one = interpreters.create()
        failed = interpreters.run_string(one, "try: import pannier\\nexcept ImportError as error: print(error)")
        interpreters.destroy(one)
        with pannier.Server("ipc:///tmp/pannier-test-%d" % __import__("os").getpid()) as server:
            server.method(abs)
            with pannier.Client(server.address) as client:
                print(client.call("abs", -1), client.submit("abs", -2).result())
        """
    )
    assert "interpreter" in output and output.endswith("1 2\n")


def test_no_thread_and_no_descriptor_before_the_first_use():
    """Importing pannier makes nothing that a fork could break."""
    output = run(
        """
        import os, numpy, multiprocessing.util
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        import pannier
        print(before == (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))))
        """
    )
    assert output == "True\n"
