"""What docs/calls.md says becomes of a call, row by row, on every way that messages travel."""

import asyncio
import gc
import signal
import threading
import time
from concurrent.futures import CancelledError, as_completed, wait

import calls_children
import numpy as np
import pytest
from conftest import eventually, leases_out

import pannier


class Far:
    """A server in another process, and a client of it."""

    def __init__(self, child, way, **settings):
        self.child = child(calls_children.serve, *way, tuple(settings.items()))
        self.address = self.child.recv()
        self.client = pannier.Client(self.address, timeout=30)
        self.ask = self.child.ask

    def raised(self, kind):
        """What arrives where a handler raised `kind`: without a link nobody unpickles it."""
        return kind if self.client.info.same_user else pannier.RemoteError

    def told(self):
        return self.ask("told")

    def saw(self, what, seconds=10):
        return eventually(lambda: what in self.told(), seconds)


@pytest.fixture
def far(child, way, request):
    """far(**settings of the Server)."""
    made = []

    def make(**settings):
        made.append(Far(child, way, **settings))
        return made[-1]

    yield make
    for each in made:
        each.client.close()


@pytest.fixture(params=[0, 2], ids=["one thread", "handler threads"])
def threads(request):
    return request.param


# ---- Forms


def test_submit(far, threads):
    here = far(threads=threads)
    client = here.client
    futures = [client.submit("add", number, right=1) for number in range(200)]
    assert [future.result(30) for future in futures] == list(range(1, 201))
    assert all(future.done() for future in futures) and client.in_flight == 0
    array = np.arange(50_000)
    assert (client.submit("echo", array).result(30) == array).all()
    with pytest.raises(here.raised(TypeError), match="can only concatenate"):
        client.submit("add", "a").result(30)
    assert isinstance(client.submit("add", "a").exception(30), here.raised(TypeError))
    cause = client.submit("add", "a").exception(30).__cause__
    assert "in add" in str(cause)
    with pytest.raises(pannier.UnknownMethod, match="count_async"):
        client.submit("nothing").result(30)


def test_futures_that_nobody_waits_for(far):
    """Callbacks, wait and as_completed have no thread in the library."""
    client = far().client
    called = threading.Event()
    client.submit("add", 1).add_done_callback(lambda future: called.set())
    assert called.wait(10)
    done, not_done = wait([client.submit("add", number) for number in range(20)], 10)
    assert len(done) == 20 and not not_done
    results = sorted(f.result() for f in as_completed([client.submit("add", n) for n in range(20)], 10))
    assert results == list(range(1, 21))
    future = client.submit("add", 1)
    assert eventually(future.done) and future.result(0) == 2


def test_answers_come_in_any_order(far):
    here = far(threads=2)
    slow = here.client.submit("block")
    assert [here.client.submit("add", number).result(20) for number in range(20)][-1] == 20
    assert not slow.done()
    here.ask("go on")
    assert slow.result(20) == "went on"


def test_call_async(far):
    here = far(threads=2)
    client = here.client
    before = threading.active_count()

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticker = asyncio.create_task(tick())
        numbers = await asyncio.gather(*(client.call_async("add", n) for n in range(1000)))
        assert numbers == list(range(1, 1001))
        assert await client.call_async("sleep", 0.05, "slept") == ("slept", "sleep")
        assert ticks > 5  # the loop went on
        ticker.cancel()
        with pytest.raises(here.raised(TypeError), match="can only concatenate") as error:
            await client.call_async("add", "a")
        assert "in add" in str(error.value.__cause__)
        with pytest.raises(TimeoutError):
            await client.call_async("sleep", 5, timeout=0.05)
        with pytest.raises(pannier.UnknownMethod):
            await client.call_async("nothing")
        array = np.arange(50_000)
        assert ((await client.call_async("echo", array)) == array).all()
        assert threading.active_count() <= before

    asyncio.run(main())
    asyncio.run(main())  # in another loop
    assert client.in_flight == 0


def test_handlers_of_every_form(far, threads):
    client = far(threads=threads).client
    assert client.sleep(0.01, "slept") == ("slept", "sleep")
    assert list(client.stream("count", 40)) == list(range(40))
    assert list(client.stream("count_async", 40)) == list(range(40))
    method, remaining, peer, text = client.who(timeout=20)
    assert method == "who" and 10 < remaining <= 20 and "pid" in peer and "who" in text
    assert client.call("who", timeout=None)[1] is None


def test_notify(far):
    here = far()
    for number in range(50):
        here.client.notify("note", number)
    here.client.notify("nothing")  # nobody tells
    here.client.notify("add", "a")
    assert here.client.told_so_far() == list(range(50))  # in order with other calls
    assert here.client.in_flight == 0


def test_methods(far):
    listed = {method.name: method for method in far().client.methods()}
    assert listed["echo"].signature == "echo(value)"
    assert listed["echo"].doc == "Gives back what it gets."
    assert listed["add"].signature == "add(left, right=1)" and "sleep" in listed


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


# ---- Limits


def test_too_many_calls(far):
    here = far(threads=1, max_calls=3, max_calls_per_peer=2)
    futures = [here.client.submit("block") for _ in range(2)]
    with pytest.raises(pannier.LimitExceeded, match="this connection has 2 calls"):
        here.client.add(1)
    with pannier.Client(here.address) as other:
        futures.append(other.submit("block"))
        assert eventually(lambda: here.ask("stats").in_flight == 3)
        with pytest.raises(pannier.LimitExceeded, match="not run"):
            other.add(1)
        assert here.ask("stats").refused == 2
        # Retried, it finds room in the end.
        retried = other.submit("add", 1, retries=100)
        time.sleep(0.1)
        assert not retried.done()
        here.ask("go on")
        assert retried.result(20) == 2
        assert [future.result(20) for future in futures] == ["went on"] * 3


def test_too_many_bytes(far):
    here = far(threads=1, max_call_bytes=1_000_000)
    assert len(here.client.echo(bytes(2_000_000))) == 2_000_000  # alone, it may
    blocker = here.client.submit("block")
    assert here.saw("blocks")
    with pytest.raises(pannier.LimitExceeded, match="of 1000000"):
        here.client.echo(np.ones(250_000))
    here.ask("go on")
    assert blocker.result(20) == "went on"


def test_a_message_that_is_too_large(far):
    client = far(max_message_bytes=100_000).client
    with pytest.raises(pannier.LimitExceeded):
        client.echo("x" * 200_000)
    with pytest.raises(pannier.LimitExceeded):
        client.submit("echo", "x" * 200_000)
    assert client.add(1) == 2


def test_a_full_window(far):
    """More than a window of calls on a server that runs none of them."""
    here = far()
    blocker = here.client.submit("block")

    async def main():
        before = time.monotonic()
        tasks = [asyncio.create_task(here.client.call_async("add", n)) for n in range(3000)]
        await asyncio.sleep(0.2)
        assert time.monotonic() - before < 20  # the loop was not held up
        here.ask("go on")
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == list(range(1, 3001))
    assert blocker.result(20) == "went on"


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


# ---- Streams


@pytest.mark.parametrize("method", ["count", "count_async"])
def test_a_slow_reader_stops_the_generator_and_not_the_server(far, threads, method):
    here = far(threads=threads)
    stream = here.client.stream(method, 1000, credit=4)
    assert next(stream) == 0
    assert here.client.add(1) == 2  # on the same connection
    time.sleep(0.1)
    assert max(n for n in here.told() if isinstance(n, int)) <= 5
    assert list(stream) == list(range(1, 1000))
    assert next(stream, "over") == "over"


def test_what_a_generator_returns(far):
    stream = far().client.stream("count", 3)
    assert list(stream) == [0, 1, 2] and stream.value == "counted"


def test_a_generator_that_raises(far):
    here = far()
    for method, kind in (("break_after", ValueError), ("spoil_after", TypeError)):
        got = []
        with pytest.raises(here.raised(kind)) as error:
            for item in here.client.stream(method, 5):
                got.append(item)  # noqa: PERF402
        assert got == list(range(5))
        assert "On the far side" in str(error.value.__cause__)


def test_a_stream_that_is_closed_or_dropped(far):
    here = far()
    for end in ("close", "with", "drop", "cancelled task"):
        stream = here.client.stream("count", 10**6)
        if end != "cancelled task":
            assert next(stream) == 0
        if end == "close":
            stream.close()
            assert next(stream, "closed") == "closed"
        elif end == "with":
            with stream:
                pass
        elif end == "cancelled task":

            async def read():
                async for _ in here.client.stream("count", 10**6):
                    await asyncio.sleep(0.01)

            async def main():
                task = asyncio.create_task(read())
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            asyncio.run(main())
        del stream
        gc.collect()
        want = ["close", "with", "drop", "cancelled task"].index(end) + 1
        assert eventually(lambda: here.told().count("closed") == want), end  # noqa: B023
    assert here.client.in_flight == 0


def test_async_for(far):
    here = far(threads=1)
    client = here.client

    async def main():
        got = [item async for item in client.stream("count", 500, credit=3)]
        assert got == list(range(500))
        parts = [client.stream("count_async", 100, credit=1) for _ in range(5)]

        async def read(stream):
            return [item async for item in stream]

        for got in await asyncio.gather(*map(read, parts)):
            assert got == list(range(100))
        with pytest.raises(here.raised(ValueError), match="on purpose"):
            async for _ in client.stream("break_after", 2):
                pass
        with pytest.raises(TimeoutError):
            async for _ in client.stream("count", 10**9, timeout=0.2):
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert client.in_flight == 0


def test_the_deadline_of_a_stream(far):
    here = far()
    with pytest.raises(pannier.DeadlineExceeded):
        for _ in here.client.stream("count", 10**9, timeout=0.3):
            pass
    assert here.saw("closed")


def test_a_reader_that_stalls_past_the_deadline(far):
    """The generator waits for room, and is told of the deadline by the server itself."""
    here = far()
    stream = here.client.stream("count", 10**9, timeout=0.3, credit=2)
    assert next(stream) == 0
    assert here.saw("closed")


def test_a_reader_that_dies(far, child):
    here = far()
    reader = child(calls_children.read_for_ever, here.address)
    assert reader.recv() == 3
    reader.kill()
    assert here.saw("closed")
    assert eventually(lambda: here.ask("leases") == 0)


def test_a_server_that_dies_under_a_stream(far):
    here = far()
    stream = here.client.stream("count", 10**9, credit=8)
    assert next(stream) == 0
    here.child.kill()
    with pytest.raises(pannier.ConnectionLost):
        for _ in stream:
            pass


def test_streams_and_calls_are_not_mixed_up(far):
    here = far()
    with pytest.raises(here.raised(TypeError), match="use call"):
        next(here.client.stream("add", 1))
    with pytest.raises(here.raised(TypeError), match="use call"):
        next(here.client.stream("sleep", 1))
    with pytest.raises(here.raised(TypeError), match="use stream"):
        here.client.count(3)
    with pytest.raises(here.raised(TypeError), match="use stream"):
        here.client.count_async(3)
    assert "counts" not in here.told()
    with pytest.raises(ValueError, match="credit"):
        here.client.stream("count", 3, credit=0)


def test_arrays_of_a_stream_go_home_one_by_one(far):
    here = far()
    kept = []
    for part in here.client.stream("count", 30, nbytes=100_000, credit=2):
        assert len(part) == 100_000 and part[0] == part[-1] == len(kept)
        kept.append(part[0])
    del part
    assert eventually(lambda: here.ask("leases") == 0)


# ---- Statistics


def test_statistics(far):
    here = far()
    for number in range(5):
        here.client.add(number)
    with pytest.raises(here.raised(TypeError)):
        here.client.add("a")
    list(here.client.stream("count", 7))
    stats = here.ask("stats")
    assert stats.methods["add"][0] == 6 and stats.methods["add"][1] > 0
    assert stats.calls == 7 and stats.failed == 1 and stats.items == 7
    assert stats.in_flight == stats.queued == stats.in_flight_bytes == 0
    assert stats.connections == 1
