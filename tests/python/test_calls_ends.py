"""What docs/calls.md says of deadlines, cancels, deaths, stops, connecting again and retries, on
every way that messages travel."""

import asyncio
import signal
import threading
import time
from concurrent.futures import CancelledError, wait

import calls_children
import numpy as np
import pytest
from calls_far import far, threads
from conftest import eventually, leases_out

import pannier

__all__ = ["far", "threads"]


# ---- Deadlines and cancels


def test_a_deadline_that_passes_while_it_waits(far, way):
    here = far()
    blocker = here.client.submit("block")
    assert here.saw("blocks")
    with pytest.raises(pannier.DeadlineExceeded):
        here.client.call("note", "late", timeout=0.1)
    if way.address.startswith("tcp") and not here.client.info.link:
        time.sleep(1)  # the server learns it by a cancel, which takes its way
    here.ask("go on")
    assert blocker.result(20) == "went on"
    assert "late" not in here.client.told_so_far()
    assert here.ask("stats").expired == 1


@pytest.mark.parametrize("method", ["poll", "touch"])
def test_a_deadline_that_passes_while_it_runs(far, threads, method):
    here = far(threads=threads)
    start = time.monotonic()
    with pytest.raises(pannier.DeadlineExceeded):
        here.client.call(method, timeout=0.2)
    assert time.monotonic() - start < 10
    assert here.saw("DeadlineExceeded")


def test_cancelled_before_it_runs(far):
    here = far(threads=1)
    blocker = here.client.submit("block")
    assert here.saw("blocks")
    future = here.client.submit("note", "cancelled")
    assert future.cancel() and future.cancelled() and future.cancel()
    with pytest.raises(CancelledError):
        future.result(5)
    assert wait([future], 5).done == {future}
    assert eventually(lambda: here.ask("stats").cancelled == 1, 20)
    here.ask("go on")
    assert blocker.result(20) == "went on" and not blocker.cancel()
    assert "cancelled" not in here.client.told_so_far()


@pytest.mark.parametrize("method", ["poll", "touch"])
def test_cancelled_while_it_runs(far, threads, method):
    here = far(threads=threads)
    future = here.client.submit(method)
    assert here.saw(method + ("s" if method == "poll" else "es"))
    assert future.cancel()
    assert here.saw("Cancelled")
    if method == "touch":
        assert here.saw("tidied")
    assert here.client.add(1) == 2
    assert eventually(lambda: here.ask("stats").in_flight == 0)
    assert here.ask("stats").cancelled == 1


def test_a_cancelled_coroutine(far):
    here = far()
    future = here.client.submit("sleep", 60)
    assert here.saw("sleeps")
    assert future.cancel() and here.saw("cancelled")


def test_a_cancelled_task(far):
    here = far()

    async def main():
        task = asyncio.create_task(here.client.call_async("poll"))
        while not here.client.in_flight:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.client.in_flight == 0
        return await here.client.call_async("add", 1)

    assert asyncio.run(main()) == 2
    assert here.saw("Cancelled")


def test_a_late_result_is_dropped_and_its_buffers_go_home(far):
    here = far()
    array = pannier.ones(1 << 17)
    with pytest.raises(TimeoutError):
        here.client.call("block", timeout=0.1)
    future = here.client.submit("echo", array)
    assert future.cancel()
    here.ask("go on")
    assert here.client.add(1) == 2
    pannier.pool().wait(array, 10)
    assert eventually(lambda: here.ask("leases") == 0)


def test_an_interrupted_caller(far):
    here = far(threads=1)
    main = threading.main_thread().ident
    threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        here.client.call("poll")
    assert here.saw("Cancelled")
    assert here.client.add(1) == 2


# ---- Ends


def test_the_server_dies(far):
    here = far(threads=2)
    futures = [here.client.submit("block") for _ in range(3)]
    assert here.saw("blocks")

    async def main():
        task = asyncio.create_task(here.client.call_async("block"))
        await asyncio.sleep(0.1)
        here.child.kill()
        with pytest.raises(pannier.ConnectionLost):
            await asyncio.wait_for(task, 20)

    asyncio.run(main())
    for future in futures:
        with pytest.raises(pannier.ConnectionLost):
            future.result(10)
    with pytest.raises(pannier.ConnectionLost):
        here.client.submit("add", 1).result(10)
    assert leases_out() == 0


@pytest.mark.parametrize("method", ["poll", "touch"])
def test_the_caller_dies(far, child, threads, method):
    here = far(threads=threads)
    caller = child(calls_children.call_for_ever, here.address, method, ())
    assert caller.recv() == "sent"
    assert here.saw(method + ("s" if method == "poll" else "es"))
    caller.kill()
    assert here.saw("ConnectionLost")
    assert here.client.add(1) == 2


def test_the_server_stops_at_once(far):
    here = far(threads=1)
    running = here.client.submit("poll")
    assert here.saw("polls")
    waiting = here.client.submit("note", "waits")
    assert here.ask({"grace": 0}) == "stopped"
    assert running.result(10) == "nobody waits"  # told to end, it answered
    with pytest.raises(pannier.ConnectionLost):
        waiting.result(10)
    assert "waits" not in here.told() and "Closed" in here.told()


def test_the_server_stops_with_grace(far):
    here = far(threads=1)
    running = here.client.submit("block")
    assert here.saw("blocks")
    waiting = here.client.submit("add", 1)
    assert eventually(lambda: here.ask("stats").queued == 1)
    threading.Timer(0.5, lambda: None).start()
    here.child.pipe.send({"grace": 20})
    refused = []

    def refuse():
        try:
            here.client.submit("add", 1).result(0.3)
        except pannier.Refused as error:
            refused.append(error)
        except TimeoutError:
            pass
        return refused

    assert eventually(refuse, 10)
    assert "stopping" in str(refused[0])
    assert not running.done() and not waiting.done()


def test_a_closed_client(far):
    here = far(threads=1)
    future = here.client.submit("poll")
    assert here.saw("polls")
    here.client.close()
    with pytest.raises(pannier.Closed):
        future.result(10)
    assert here.saw("ConnectionLost")
    with pytest.raises(pannier.Closed):
        here.client.submit("add", 1)


def test_many_futures_of_many_threads(far):
    client = far(threads=2).client
    wrong = []

    def work(number):
        futures = [client.submit("add", np.full(3000, number), n) for n in range(30)]
        for n, future in enumerate(reversed(futures)):
            if not (future.result(60) == number + 29 - n).all():
                wrong.append((number, n))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and client.in_flight == 0


# ---- Connecting again, and retries


def test_connecting_again(child, way):
    first = child(calls_children.serve, *way)
    address = first.recv()
    with pannier.Client(address, timeout=30, reconnect=20) as client:
        assert client.add(1) == 2
        lost = client.submit("block")
        first.kill()
        with pytest.raises(pannier.ConnectionLost):
            lost.result(10)

        def restart():
            time.sleep(0.3)
            again.append(child(calls_children.serve, address, way.options))

        again = []
        thread = threading.Thread(target=restart)
        thread.start()
        assert client.add(2) == 3  # waits for it
        thread.join()
        assert asyncio.run(client.call_async("add", 3)) == 4
        assert list(client.stream("count", 5)) == list(range(5))
        assert client.submit("add", 4).result(10) == 5
        again[0].kill()
    with pytest.raises(pannier.Closed):
        client.add(1)


def test_a_server_that_does_not_come_back(child, ipc):
    far = child(calls_children.serve, ipc)
    far.recv()
    with pannier.Client(ipc, reconnect=0.3) as client:
        far.kill()
        for _ in range(2):
            start = time.monotonic()
            with pytest.raises(pannier.ConnectionLost):
                client.add(1)
                client.add(1)
            assert time.monotonic() - start < 15


def test_retries(child, ipc):
    """A call that kills its server is made again after that is back, and as often as allowed."""
    stop = threading.Event()
    far = [child(calls_children.serve, ipc)]
    far[0].recv()

    def keep_alive():
        while not stop.wait(0.02):
            if not far[-1].process.is_alive():
                far.append(child(calls_children.serve, ipc))

    thread = threading.Thread(target=keep_alive)
    thread.start()
    try:
        with pannier.Client(ipc, timeout=60, reconnect=30) as client:
            for call in (
                lambda: client.call("die", retries=1),
                lambda: client.submit("die", retries=1).result(60),
                lambda: asyncio.run(client.call_async("die", retries=1)),
            ):
                before = len(far)
                with pytest.raises(pannier.ConnectionLost):
                    call()
                assert eventually(lambda: len(far) == before + 2, 20)  # noqa: B023
            assert client.call("add", 1, retries=3) == 2
    finally:
        stop.set()
        thread.join()
