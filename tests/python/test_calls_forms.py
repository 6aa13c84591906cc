"""What docs/calls.md says of the forms of a call, limits and statistics, on every way that
messages travel."""

import asyncio
import threading
import time
from concurrent.futures import as_completed, wait

import numpy as np
import pytest
from calls_far import far, threads
from conftest import eventually

import pannier

__all__ = ["far", "threads"]


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
