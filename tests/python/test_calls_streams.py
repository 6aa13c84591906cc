"""What docs/calls.md says of streams, on every way that messages travel."""

import asyncio
import gc
import time

import calls_children
import pytest
from calls_far import far, threads
from conftest import eventually

import pannier
from pannier._cloudpickling import dumps_anything

__all__ = ["far", "threads"]


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


def test_a_look_for_the_next_item_receives_nothing(far):
    """It would run what is to be called for other calls, on a thread that may hold any lock."""
    core = far().client._core
    arguments, _ = dumps_anything((3,))
    stream = core.start_stream("count", arguments, (), False, 10.0, 16, True)
    called = []
    other = core.start("add", dumps_anything((1,))[0], (), False, 10.0, True)
    other.on_done(lambda: called.append("done"))
    time.sleep(0.3)  # the answers have come
    assert stream.try_next() is False and not called
    assert eventually(lambda: core.dispatch() or called)
    assert stream.try_next() is not False
