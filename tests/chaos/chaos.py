#!/usr/bin/env python3
"""Runs processes that send each other messages and calls, kills, stops and lies to them at
random, and checks that nothing goes wrong but what the faults explain.

Checked all the time: the contents of every message, when it comes and after it was held; that
every call ends by its deadline; that no process ends by itself or stands still. Checked at the
end: every lease is home, the pools are sound, descriptors, mappings and memory of the processes
that were never killed are what they were before, and no file is left.

    chaos.py --worker build/release/tests/chaos/chaos_worker --seconds 600 [--seed N] [--no-python]

The last line is a summary; the exit status is 1 after any violation. The same seed makes the same
plan of faults, though not the same moments.
"""

import argparse
import contextlib
import os
import pathlib
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MEAN_BETWEEN_FAULTS = 0.3  # seconds
SILENT_FOR = 40.0  # seconds without a report, while not stopped, are a hang
DRAINED_WITHIN = 60.0
SETTLED_WITHIN = 20.0
MAPS_SLACK = 40
RESIDENT_SLACK_KIB = 96 << 10
QUOTA = {"hub": "128M", "peer": "64M", "server": "96M", "caller": "32M", "liar": "8M"}


class Process:
    """A worker, from its start to its end, and what it reported."""

    def __init__(self, chaos, name, role, endpoints, python, anchor):
        self.name, self.role, self.endpoints = name, role, endpoints
        self.python, self.anchor = python, anchor
        self.stopped = False
        self.restart_at = None
        self.reap_at = None
        self.drains = []
        self.start(chaos)

    def start(self, chaos):
        seed = chaos.random.getrandbits(63)
        environment = {"PANNIER_POOL_QUOTA": QUOTA[self.role]}
        if self.python:
            reader, writer = chaos.context.Pipe(duplex=False)
            self.process = chaos.context.Process(
                target=chaos.python_main,
                args=(self.role, writer, seed, self.endpoints, environment),
                daemon=True,
            )
            self.process.start()
            writer.close()
            self.reader, self.fd = reader, reader.fileno()
        else:
            self.fd, theirs = os.pipe()
            self.process = subprocess.Popen(
                [chaos.worker, self.role, str(theirs), str(seed), *self.endpoints],
                pass_fds=[theirs],
                env=os.environ | environment,
            )
            os.close(theirs)
        os.set_blocking(self.fd, False)
        self.pid = self.process.pid
        self.counts = (0, 0, 0)
        self.rest = b""
        self.heard = time.monotonic()
        self.drained = False
        self.stopped = False
        self.restart_at = None
        chaos.selector.register(self.fd, selectors.EVENT_READ, self)

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ended(self):
        """Its exit code, or None while it lives."""
        return self.process.exitcode if self.python else self.process.poll()

    def reap(self, chaos):
        code = None
        if self.python:
            self.process.join(20)
            code = self.process.exitcode
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(20)
        if self.fd >= 0:
            chaos.hear(self)
        self.close_reader(chaos)
        return code

    def close_reader(self, chaos):
        if self.fd < 0:
            return
        chaos.selector.unregister(self.fd)
        if self.python:
            self.reader.close()
        else:
            os.close(self.fd)
        self.fd = -1


class Chaos:
    def __init__(self, options):
        self.seed = options.seed
        self.random = random.Random(options.seed)
        self.worker = options.worker
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="pannier-chaos-")
        os.environ["TMPDIR"] = self.folder
        # A thread for each connection would leave glibc with an arena for each: not our mappings.
        os.environ["MALLOC_ARENA_MAX"] = "2"
        self.shared = set(os.listdir("/dev/shm"))
        self.selector = selectors.DefaultSelector()
        self.violations = []
        self.kills = self.stops = self.other = 0
        self.gone = [0, 0, 0]  # counts of incarnations that ended
        self.processes = []
        self.faults_allowed = False
        if options.python:
            import multiprocessing

            here = str(pathlib.Path(__file__).parent)
            sys.path.insert(0, here)
            import worker

            self.python_main = worker.main
            self.context = multiprocessing.get_context("forkserver")
            self.context.set_forkserver_preload(["numpy", "pannier", "worker"])

    # ---- what runs

    def populate(self):
        def ipc(name):
            return f"ipc://{self.folder}/{name}"

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            tcp = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        python = self.options.python
        hubs = [ipc("anchor"), ipc("victim"), tcp]
        servers = [ipc("calls")]
        plan = [
            ("hub", [hubs[0]], False, True),
            ("hub", [hubs[1]], False, False),
            ("hub", [hubs[2]], False, False),
            ("server", [servers[0]], False, False),
        ]
        if python:
            hubs += [ipc("py-anchor"), ipc("py-victim")]
            servers += [ipc("py-calls")]
            plan += [
                ("hub", [hubs[3]], True, True),
                ("hub", [hubs[4]], True, False),
                ("server", [servers[1]], True, False),
            ]
        plan += [("peer", hubs, False, True)] + [("peer", hubs, False, False)] * 3
        plan += [("caller", servers, False, True), ("caller", servers, False, False)]
        if python:
            plan += [("peer", hubs, True, True), ("peer", hubs, True, False)]
            plan += [("caller", servers, True, False)]
        for number, (role, endpoints, in_python, anchor) in enumerate(plan):
            name = f"{'python ' if in_python else ''}{role} {number}{' (anchor)' if anchor else ''}"
            self.processes.append(Process(self, name, role, endpoints, in_python, anchor))
        self.hubs, self.tcp = hubs, tcp

    # ---- what they say

    def violation(self, text):
        self.violations.append(text)
        print(f"\nVIOLATION: {text}", flush=True)

    def hear(self, process):
        try:
            data = os.read(process.fd, 1 << 16)
        except BlockingIOError:
            return
        *lines, process.rest = (process.rest + data).split(b"\n")
        for line in lines:
            kind, _, text = line.decode().partition(" ")
            process.heard = time.monotonic()
            if kind == "s":
                process.counts = tuple(map(int, text.split()))
            elif kind == "d":
                process.drained = True
                process.drains.append(tuple(map(int, text.split())))
            elif kind == "v":
                self.violation(f"{process.name} (pid {process.pid}): {text}")
        if not data:
            process.close_reader(self)

    def listen_until(self, end):
        """Reads reports until `end`, or the next moment when something is due."""
        while True:
            left = end - time.monotonic()
            for key, _ in self.selector.select(max(0, min(left, 0.1))):
                self.hear(key.data)
            self.look_after()
            if left <= 0:
                return

    def look_after(self):
        """Restarts who was killed; finds who ended by itself or stands still."""
        now = time.monotonic()
        for process in self.processes:
            if process.reap_at is not None:
                if now >= process.reap_at:
                    process.reap_at = None
                    self.bury(process)
                continue
            if process.restart_at is not None:
                if now >= process.restart_at:
                    process.start(self)
                continue
            if (code := process.ended()) is not None:
                self.violation(f"{process.name} (pid {process.pid}) ended by itself: {code}")
                self.bury(process)
            elif not process.stopped and now - process.heard > SILENT_FOR:
                self.violation(f"{process.name} (pid {process.pid}) stands still{stacks(process.pid)}")
                process.signal(signal.SIGKILL)
                self.bury(process)
        for helper in [one for one in self.helpers if one.poll() is not None]:
            self.helpers.remove(helper)

    helpers: list = []  # liars under way

    def bury(self, process):
        process.reap(self)
        self.gone = [a + b for a, b in zip(self.gone, process.counts, strict=True)]
        process.counts = (0, 0, 0)
        process.restart_at = time.monotonic() + self.random.random() * 0.3

    # ---- faults

    def living(self, anchors=False):
        return [
            one
            for one in self.processes
            if one.restart_at is None and one.reap_at is None and (anchors or not one.anchor)
        ]

    def fault(self):
        dice = self.random.random()
        if dice < 0.75:
            self.kill()
        elif dice < 0.88:
            self.stop()
        elif dice < 0.94:
            self.lie()
        else:
            self.garbage()

    def kill(self):
        if not (living := self.living()):
            return
        victim = self.random.choice(living)
        victim.signal(signal.SIGKILL)
        self.kills += 1
        # Some stay zombies for a while.
        victim.reap_at = time.monotonic() + (2.0 if self.random.random() < 0.1 else 0.0)

    def stop(self):
        victim = self.random.choice(self.living(anchors=True))
        if victim.stopped:
            return
        victim.signal(signal.SIGSTOP)
        victim.stopped = True
        self.stops += 1
        victim.wake_at = time.monotonic() + self.random.choice([0.01, 0.2, 1.0, 4.0])

    def wake(self, everyone=False):
        for one in self.processes:
            if one.stopped and (everyone or time.monotonic() >= one.wake_at):
                one.signal(signal.SIGCONT)
                one.stopped = False
                one.heard = time.monotonic()

    def lie(self):
        self.other += 1
        sink = os.open("/dev/null", os.O_WRONLY)
        endpoint = self.random.choice(self.hubs)
        arguments = ["liar", str(sink), str(self.random.getrandbits(63)), endpoint]
        environment = os.environ | {"PANNIER_POOL_QUOTA": QUOTA["liar"]}
        self.helpers.append(
            subprocess.Popen([self.worker, *arguments], pass_fds=[sink], env=environment)
        )
        os.close(sink)

    def garbage(self):
        """Bytes that mean nothing, to an endpoint and to a link socket."""
        self.other += 1
        data = self.random.randbytes(self.random.randrange(1, 300))
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.settimeout(0.2)
            one.connect(self.random.choice(self.hubs[:2]).removeprefix("ipc://"))
            one.send(data)
        with contextlib.suppress(OSError), open("/proc/net/unix") as table:
            names = [line.split()[-1][1:] for line in table if "@pannier-" in line]
            one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with one:
                one.settimeout(0.2)
                one.connect("\0" + self.random.choice(names or ["none"]))
                one.send(data[: self.random.randrange(len(data))])

    # ---- the run

    def progress(self, done, whole, last):
        counts = [a + sum(p.counts[i] for p in self.processes) for i, a in enumerate(self.gone)]
        text = (
            f"{self.kills} kills, {self.stops} stops, {counts[0]} messages, "
            f"{counts[1] / 1e9:.2f} GB, {counts[2]} connections ended, "
            f"{len(self.violations)} violations"
        )
        if sys.stdout.isatty():
            width = 20
            bar = "#" * int(width * min(1, done / whole))
            print(f"\r[{bar:<{width}}] {done:.0f}/{whole:.0f} s: {text}", end="", flush=True)
        elif done - last >= 10:
            print(f"{done:.0f}/{whole:.0f} s: {text}", flush=True)
            return done
        return last

    def run(self, seconds, faults):
        start = last_fault = time.monotonic()
        printed = 0.0
        until = start + seconds
        while (now := time.monotonic()) < until:
            if faults:
                printed = self.progress(now - start, seconds, printed)
                wait = self.random.expovariate(1 / MEAN_BETWEEN_FAULTS)
                self.listen_until(min(until, last_fault + wait))
                last_fault = time.monotonic()
                self.fault()
                self.wake()
            else:
                self.listen_until(until)

    def everyone(self):
        """All are there and awake."""
        self.wake(everyone=True)
        end = time.monotonic() + 20
        while time.monotonic() < end and any(p.restart_at or p.reap_at for p in self.processes):
            self.listen_until(time.monotonic() + 0.05)
        # A new one has its handlers for signals only after its first report.
        self.listen_until(time.monotonic() + 1.0)

    def drain(self):
        self.everyone()
        for process in self.processes:
            process.drained = False
            process.signal(signal.SIGUSR1)
        end = time.monotonic() + DRAINED_WITHIN
        while time.monotonic() < end and not all(p.drained for p in self.processes):
            self.listen_until(time.monotonic() + 0.05)
        for process in self.processes:
            if not process.drained:
                self.violation(
                    f"{process.name} (pid {process.pid}) did not drain{stacks(process.pid)}"
                )

    def resume(self):
        for process in self.processes:
            process.signal(signal.SIGUSR2)
            process.heard = time.monotonic()

    def settle(self):
        """Waits until what the others have open does not change any more."""
        before, since = None, time.monotonic()
        end = since + SETTLED_WITHIN
        while time.monotonic() < min(end, since + 2.0):
            self.listen_until(time.monotonic() + 0.1)
            if (now := [p.drains[-1:] and p.drains[-1][0] for p in self.processes]) != before:
                before, since = now, time.monotonic()
        return {p: p.drains[-1] for p in self.processes if p.anchor and p.drains}

    def compare(self, before, after):
        names = ["descriptors", "mappings of shared memory", "mappings", "KiB of memory"]
        slack = [0, 0, MAPS_SLACK, RESIDENT_SLACK_KIB]
        if self.options.sanitized:
            slack[2] = slack[3] = 1 << 40
        for process, was in before.items():
            now = after.get(process, was)
            for name, left, right, more in zip(names, was, now, slack, strict=True):
                if right > left + more:
                    self.violation(f"{process.name}: {left} {name} before, {right} after")
            if self.options.verbose:
                print(f"{process.name}: {was} before, {now} after ({', '.join(names)})")

    def finish(self):
        for process in self.processes:
            process.signal(signal.SIGTERM)
        for process in self.processes:
            code = process.reap(self)
            if code != 0:
                self.violation(f"{process.name} (pid {process.pid}) ended with {code}")
                process.signal(signal.SIGKILL)
            self.gone = [a + b for a, b in zip(self.gone, process.counts, strict=True)]
        for helper in self.helpers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(10)
            helper.kill()
        self.processes, self.helpers = [], []
        if left := [name for name in os.listdir(self.folder) if not name.startswith("pymp-")]:
            self.violation(f"files are left: {left}")
        if left := [n for n in set(os.listdir("/dev/shm")) - self.shared if "pannier" in n]:
            self.violation(f"shared memory is left: {left}")

    def whole(self):
        warm_up = min(5.0, self.options.seconds / 4)
        start = time.monotonic()
        try:
            self.populate()
            self.run(warm_up, faults=False)
            self.drain()
            before = self.settle()
            self.resume()
            self.run(max(1.0, self.options.seconds - (time.monotonic() - start)), faults=True)
            self.drain()
            self.compare(before, self.settle())
            self.finish()
        finally:
            for process in self.processes:
                process.signal(signal.SIGKILL)
            for helper in self.helpers:
                helper.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        print(
            f"\nchaos: seed {self.seed}, {time.monotonic() - start:.0f} s, {self.kills} kills, "
            f"{self.stops} stops, {self.other} lies, {self.gone[0]} messages, "
            f"{self.gone[1] / 1e9:.2f} GB, {self.gone[2]} connections ended, "
            f"{len(self.violations)} violations"
        )
        return 1 if self.violations else 0


def stacks(pid):
    """What the threads of a process wait for in the kernel, and where in the program."""
    text = ""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/wchan") as wchan:
                text += f"; thread {task} in {wchan.read() or 'user space'}"
    if gdb := shutil.which("gdb"):
        command = [gdb, "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            text += "\n" + done.stdout
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", required=True, help="the program chaos_worker")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--no-python", dest="python", action="store_false")
    parser.add_argument(
        "--sanitized",
        action="store_true",
        help="of memory, compare only what is shared: a sanitizer keeps what is freed",
    )
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    print(f"chaos: seed {options.seed}", flush=True)
    sys.exit(Chaos(options).whole())


if __name__ == "__main__":
    main()
