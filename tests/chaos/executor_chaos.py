#!/usr/bin/env python3
"""Keeps Executors under load while their workers are killed and stopped at random, and checks that
nothing goes wrong but what the kills explain.

Checked of each call: its future ends, in time; with the right result, or with WorkerDied, or
cancelled; and its function ran as often as it may: never where it was cancelled, once, or with
retries= once more for each. Checked after each executor: its processes and threads are gone, every
lease is home, and descriptors are what they were before.

    executor_chaos.py --seconds 300 [--seed N]

The last line is a summary; the exit status is 1 after any violation. The same seed makes the same
plan, though not the same moments.
"""

import argparse
import concurrent.futures
import contextlib
import faulthandler
import gc
import mmap
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time

import numpy as np

import pannier

PATIENCE = 60.0  # that any future ends in, and what was open is closed
MOST_CALLS = 1 << 22  # in one executor
SUBMITTERS = 3
MOST_HELD = 400
MEAN_BETWEEN_KILLS = 0.15  # seconds


# ---- What workers run

runs = None  # how often each call ran: one byte for each, in memory that all processes share


def share(path):
    global runs
    with open(path, "r+b") as file:
        runs = mmap.mmap(file.fileno(), MOST_CALLS)


class Oops(Exception):
    pass


def ran(number):
    runs[number] += 1


def quick(number):
    ran(number)
    return 3 * number


def nap(number, seconds):
    ran(number)
    time.sleep(seconds)
    return 3 * number


def double(number, array):
    ran(number)
    result = pannier.empty(array.shape, array.dtype)
    np.multiply(array, 2, out=result)
    return result


def plain(number, size):
    ran(number)
    return np.full(size, number)


def fail(number):
    ran(number)
    raise Oops(number)


def die(number):
    ran(number)
    os._exit(3)


# ---- The load


class Call:
    def __init__(self, number, future, right):
        self.number, self.future, self.right = number, future, right
        self.cancelled = False


class Round:
    """One executor, its load, and what becomes of it."""

    def __init__(self, chaos, seconds, faults):
        self.chaos = chaos
        self.random = random.Random(chaos.random.getrandbits(64))
        self.end = time.monotonic() + seconds
        self.replace = not faults or self.random.random() < 0.8
        self.retries = self.random.choice([0, 0, 3]) if self.replace else 0
        self.most = self.random.randint(1, 4)
        self.numbers = iter(range(MOST_CALLS))
        self.lock = threading.Lock()
        self.pids = set()
        chaos.counters.truncate(0)
        chaos.counters.truncate(MOST_CALLS)
        share(chaos.counters.name)
        self.executor = pannier.Executor(
            self.most,
            start_method="forkserver",
            replace=self.replace,
            retries=self.retries,
            initializer=share,
            initargs=(chaos.counters.name,),
        )

    def __str__(self):
        return f"an executor of {self.most}, replace={self.replace}, retries={self.retries}"

    def run(self, faults):
        loads = [
            threading.Thread(target=self.load, args=(random.Random(self.random.random()),))
            for _ in range(SUBMITTERS)
        ]
        for load in loads:
            load.start()
        while time.monotonic() < self.end and any(load.is_alive() for load in loads):
            pause = self.random.expovariate(1 / MEAN_BETWEEN_KILLS)
            time.sleep(max(0.0, min(pause, self.end - time.monotonic())))
            if faults:
                self.fault()
        for load in loads:
            load.join(3 * PATIENCE)
            if load.is_alive():
                self.chaos.hangs(f"{self}: a thread that submits stands still")
        self.finish()

    def workers(self):
        return [one.process.pid for one in [*self.executor._workers.all] if one.started]

    def fault(self):
        if not (pids := self.workers()):
            return
        self.pids.update(pids)
        pid = self.random.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            if self.random.random() < 0.8:
                os.kill(pid, self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                self.chaos.count("kills")
            else:
                os.kill(pid, signal.SIGSTOP)
                self.chaos.count("stops")
                time.sleep(self.random.choice([0.001, 0.02, 0.3]))
                os.kill(pid, signal.SIGCONT)

    def submit(self, rng):
        with self.lock:
            number = next(self.numbers)
        kind, executor = rng.random(), self.executor
        if kind < 0.6:
            return Call(number, executor.submit(quick, number), 3 * number)
        if kind < 0.75:
            return Call(number, executor.submit(nap, number, 0.005 * rng.random()), 3 * number)
        if kind < 0.85:
            size = rng.choice([10, 5_000, 200_000])
            array = pannier.empty(size, np.int64) if rng.random() < 0.5 else np.empty(size, np.int64)
            array.fill(number)
            right = np.full(size, 2 * number)
            return Call(number, executor.submit(double, number, array), right)
        if kind < 0.95:
            size = rng.choice([10, 5_000, 200_000])
            return Call(number, executor.submit(plain, number, size), np.full(size, number))
        if kind < 0.995:
            return Call(number, executor.submit(fail, number), Oops(number))
        self.chaos.count("kills")
        return Call(number, executor.submit(die, number), None)

    def load(self, rng):
        """Submits, and waits in all ways that there are."""
        held = []
        try:
            while time.monotonic() < self.end:
                new = []
                try:
                    for _ in range(rng.choice([1, 1, 5, 60])):
                        new.append(self.submit(rng))
                except concurrent.futures.BrokenExecutor:
                    if self.replace:
                        self.chaos.violation(f"{self} is broken")
                    return
                finally:
                    held += new
                for call in new:
                    if rng.random() < 0.05:
                        call.cancelled = call.future.cancel()
                self.wait(rng, new)
                while len(held) > MOST_HELD or (held and rng.random() < 0.7):
                    self.check(held.pop(rng.randrange(len(held))))
        except BaseException as error:
            self.chaos.violation(f"{self}: a thread that submits ended with {error!r}")
        finally:
            with self.lock:
                self.chaos.held += held

    def wait(self, rng, calls):
        futures = [call.future for call in calls]
        way = rng.randrange(5)
        if way == 0:
            if concurrent.futures.wait(futures, PATIENCE).not_done:
                self.chaos.hangs(f"{self}: wait")
        elif way == 1:
            try:
                for _ in concurrent.futures.as_completed(futures, PATIENCE):
                    pass
            except concurrent.futures.TimeoutError:
                self.chaos.hangs(f"{self}: as_completed")
        elif way == 2:
            done = threading.Semaphore(0)
            for future in futures:
                future.add_done_callback(lambda _: done.release())
            for _ in futures:
                if not done.acquire(timeout=PATIENCE):
                    self.chaos.hangs(f"{self}: a callback")
                    break
        elif way == 3:
            for future in futures:
                ended = concurrent.futures.TimeoutError, concurrent.futures.CancelledError
                with contextlib.suppress(*ended):
                    future.exception(0.001 * rng.random())

    def check(self, call):
        self.chaos.count("futures")
        try:
            error = call.future.exception(PATIENCE)
        except concurrent.futures.TimeoutError:
            self.chaos.hangs(f"{self}: call {call.number} ({call.future!r})")
            return
        except concurrent.futures.CancelledError:
            self.chaos.count("cancelled")
            if not call.cancelled or runs[call.number] != 0:
                self.wrong(call, "is cancelled")
            return
        if isinstance(error, pannier.WorkerDied):
            self.chaos.count("died")
        elif error is not None:
            if type(error) is not Oops or error.args != (call.number,):
                self.wrong(call, f"ended with {error!r}")
        elif not np.array_equal(call.future.result(), call.right):
            self.wrong(call, f"has a wrong result, {call.future.result()!r}")
        least = 1 if not isinstance(error, pannier.WorkerDied) else 0
        if call.cancelled or not least <= runs[call.number] <= 1 + self.retries:
            self.wrong(call, f"ended with {error!r}")

    def wrong(self, call, what):
        cancelled = ", was cancelled" if call.cancelled else ""
        self.chaos.violation(
            f"{self}: call {call.number} {what}; it ran {runs[call.number]} times{cancelled}"
        )

    def finish(self):
        """Ends the executor in one of the ways there are, and checks what is left."""
        self.pids.update(self.workers())
        way = self.random.randrange(4)
        held = self.chaos.held
        if way == 0:
            self.executor.shutdown()
        elif way == 1:
            self.executor.shutdown(cancel_futures=True)
            for call in held:
                call.cancelled = call.future.cancelled()
        elif way == 2:
            self.executor.shutdown(wait=False)
        del self.executor
        gc.collect()
        while held:
            self.check(held.pop())
        gc.collect()
        if not eventually(lambda: not any(map(alive, self.pids))):
            self.chaos.violation(f"{self}: processes are left: {list(filter(alive, self.pids))}")


# ---- The run


class Chaos:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.counters = tempfile.NamedTemporaryFile(prefix="pannier-chaos-")
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(("kills", "stops", "futures", "died", "cancelled"), 0)
        self.violations = self.rounds = 0
        self.held = []  # calls that nobody has looked at yet, at the end of a round

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def violation(self, text):
        with self.lock:
            self.violations += 1
            print(f"\nVIOLATION: {text}", flush=True)

    def hangs(self, text):
        self.violation(f"{text} does not end")
        faulthandler.dump_traceback(sys.stdout)

    def settled(self):
        """What must be the same after each round: threads, descriptors, buffers that are out."""
        gc.collect()
        pannier.pool().trim()
        threads = sorted(thread.name for thread in threading.enumerate())
        return len(os.listdir("/proc/self/fd")), threads, leases_out()

    def at_rest(self):
        """Whether the threads of executors are gone: one that is shut down without waiting ends later."""
        names = [thread.name for thread in threading.enumerate()]
        return not any(name.startswith(("pannier-shutdown", "pannier-worker")) for name in names)

    def summary(self, seconds):
        counts = self.counts
        return (
            f"executor chaos: seed {self.options.seed}, {seconds:.0f} s, {self.rounds} executors, "
            f"{counts['kills']} kills, {counts['stops']} stops, {counts['futures']} futures, "
            f"{counts['died']} of them failed as a worker died, {counts['cancelled']} cancelled, "
            f"{self.violations} violations"
        )

    def run(self):
        start = printed = time.monotonic()
        with self.counters:
            Round(self, 1.0, faults=False).run(faults=False)
            if not eventually(self.at_rest):
                self.violation(f"an executor without faults leaves {self.settled()}")
            before = self.settled()
            while (left := start + self.options.seconds - time.monotonic()) > 0:
                this = Round(self, min(left, self.random.uniform(0.5, 5.0)), faults=True)
                this.run(faults=True)
                self.rounds += 1
                name = str(this)
                del this
                if not eventually(lambda: self.settled() == before):
                    self.violation(f"{name}: {before} before, {self.settled()} after")
                if time.monotonic() - printed > 10:
                    printed = time.monotonic()
                    print(self.summary(printed - start), flush=True)
        print("\n" + self.summary(time.monotonic() - start))
        return 1 if self.violations else 0


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def leases_out():
    return sum(peer.leases for peer in pannier.pool().stats().peers)


def eventually(true):
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    multiprocessing.set_forkserver_preload(["numpy", "pannier", "pannier.executor"])
    print(f"executor chaos: seed {options.seed}", flush=True)
    sys.exit(Chaos(options).run())


if __name__ == "__main__":
    main()
