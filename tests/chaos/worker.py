"""The processes of the chaos test that are written in Python: what worker.h, hub.cc, peer.cc and
calls.cc are in C++. Messages are those of parcel.h, reports those of worker.h."""

import ctypes
import faulthandler
import gc
import os
import random
import signal
import struct
import threading
import time

import numpy as np

import pannier

STEP = 0x9E3779B97F4A7C15
MAGIC = 0x41484350
MASK = (1 << 64) - 1
GRACE = 15.0  # beyond a deadline: what a loaded machine may add
HOME_WITHIN = 20.0
MOST_HELD = 16
# What faults explain.
EXPECTED = (
    pannier.ConnectionLost,
    pannier.DeadlineExceeded,
    pannier.PoolExhausted,
    pannier.Refused,
)

stage = "run"
stops = 0


def pattern(size, seed):
    """The bytes that a buffer must hold."""
    with np.errstate(over="ignore"):
        words = np.arange(-(-size // 8), dtype=np.uint64) * np.uint64(STEP) + np.uint64(seed)
    return words.view(np.uint8)[:size]


def same(buffer, size, seed):
    return memoryview(buffer).nbytes == size and np.array_equal(
        np.frombuffer(buffer, np.uint8) if size else np.empty(0, np.uint8), pattern(size, seed)
    )


class Worker:
    def __init__(self, report, seed, endpoints):
        self.report = report
        self.random = random.Random(seed)
        self.endpoints = endpoints
        self.messages = self.bytes = self.lost = self.number = 0
        self.next_report = self.next_count = 0.0
        self.drained = False
        self.lock = threading.Lock()

    def chance(self, p):
        return self.random.random() < p

    def say(self, line):
        os.write(self.report, (line + "\n").encode())

    def violation(self, what):
        self.say("v " + what.replace("\n", " | "))

    def checked(self, nbytes):
        with self.lock:
            self.messages += 1
            self.bytes += nbytes

    def tick(self):
        now = time.monotonic()
        if now >= self.next_report:
            self.next_report = now + 0.3
            self.say(f"s {self.messages} {self.bytes} {self.lost}")
        if stage == "run":
            self.drained = False

    def drain(self):
        """Called again and again: waits, once per drain, until every block is home, and reports
        what is left."""
        if not self.drained:
            self.await_home()
        if not self.drained or time.monotonic() < self.next_count:
            return
        self.next_count = time.monotonic() + 0.3
        with open("/proc/self/maps") as maps, open("/proc/self/statm") as statm:
            lines = maps.readlines()
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
        ours = sum("/memfd:pannier" in line for line in lines)
        descriptors = len(os.listdir("/proc/self/fd")) - 1
        self.say(f"d {descriptors} {ours} {len(lines)} {resident}")

    def await_home(self):
        end = time.monotonic() + HOME_WITHIN
        gc.collect()
        while (stats := pannier.pool().stats()).blocks and time.monotonic() < end:
            if stage != "drain":
                return
            time.sleep(0.005)
            self.tick()
        self.drained = True
        if stats.blocks:
            self.violation(f"{stats.blocks} blocks did not come home; {stats.peers}")
        pannier.pool()._core.audit()
        pannier.pool().trim()

    def parcel(self):
        self.number += 1
        count = 20 if self.chance(0.02) else self.random.randrange(4)
        sizes = (
            self.random.randrange(self.random.choices([200, 100_000, 1 << 20], [40, 58, 2])[0])
            for _ in range(count)
        )
        return self.number, [(size, self.random.getrandbits(64)) for size in sizes]


class Timed:
    """A call that has a deadline: one that ends long past it is a violation, unless this process
    was stopped meanwhile."""

    def __init__(self, worker, what, allowed):
        self.worker, self.what = worker, what
        self.end = time.monotonic() + allowed + GRACE
        self.stops = stops

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if time.monotonic() > self.end and self.stops == stops:
            self.worker.violation(f"{self.what} ended {time.monotonic() - self.end} s too late")


def stream_of(parcel):
    number, pieces = parcel
    return struct.pack("<IIQ", MAGIC, len(pieces), number) + b"".join(
        struct.pack("<QQ", *piece) for piece in pieces
    )


def parse(stream):
    stream = bytes(stream)
    magic, count, number = struct.unpack_from("<IIQ", stream)
    assert magic == MAGIC and len(stream) == 16 + 16 * count
    return number, [struct.unpack_from("<QQ", stream, 16 + 16 * i) for i in range(count)]


class Held:
    """Received messages that are kept a while: checked when they came and again before they are
    let go of."""

    def __init__(self, worker):
        self.worker = worker
        self.items = []
        self.lock = threading.Lock()

    def take(self, parcel, buffers):
        number, pieces = parcel
        if not self._right(pieces, buffers):
            return self.worker.violation(f"received: message {number} of {pieces}")
        self.worker.checked(sum(size for size, _ in pieces))
        if self.worker.chance(0.3):  # a write is seen by nobody else
            for i, (buffer, (size, seed)) in enumerate(zip(buffers, pieces, strict=True)):
                if size and not memoryview(buffer).readonly:
                    np.frombuffer(buffer, np.uint8)[:] = pattern(size, ~seed & MASK)
                    pieces[i] = size, ~seed & MASK
        with self.lock:
            self.items.append((number, pieces, buffers))
            while len(self.items) > self.worker.random.randrange(MOST_HELD):
                self._drop(self.worker.random.randrange(len(self.items)))

    def clear(self):
        with self.lock:
            while self.items:
                self._drop(-1)

    def _right(self, pieces, buffers):
        return len(buffers) == len(pieces) and all(
            same(buffer, size, seed) for buffer, (size, seed) in zip(buffers, pieces, strict=True)
        )

    def _drop(self, index):
        number, pieces, buffers = self.items.pop(index)
        if not self._right(pieces, buffers):
            self.worker.violation(f"held: message {number} of {pieces}")


def listening(make, worker):
    """What `make` returns; whoever was killed at the endpoint leaves it a moment later."""
    for _ in range(100):
        try:
            return make(worker.endpoints[0])
        except OSError:
            time.sleep(0.05)
    return make(worker.endpoints[0])


def hub(worker):
    """Listens, a thread for each connection, and sends every message back."""
    held = Held(worker)

    def serve(connection):
        with connection:
            while stage != "end":
                try:
                    message = connection.recv_message(1.0)
                except pannier.DeadlineExceeded:
                    continue
                except EXPECTED:
                    return
                except pannier.CorruptMessage:
                    if "liar" not in connection.info.peer:
                        raise
                    return
                try:
                    parcel = parse(message.stream)
                except (AssertionError, struct.error):
                    if "liar" not in connection.info.peer:
                        raise
                    return
                try:
                    connection.send_message(message, 0.5)
                except EXPECTED:
                    return  # answers come in the order of messages or not at all
                held.take(parcel, list(message.buffers))
                del message

    def run(connection):
        try:
            serve(connection)
        except BaseException as error:
            worker.violation(f"hub: {error!r}")
        worker.lost += 1

    with listening(pannier.Listener, worker) as listener:
        threads = []
        while stage != "end":
            worker.tick()
            threads = [thread for thread in threads if thread.is_alive()]
            try:
                connection = listener.accept(0.1)
            except pannier.DeadlineExceeded:
                if stage == "drain":
                    held.clear()
                    worker.drain()
                continue
            threads.append(threading.Thread(target=run, args=(connection,)))
            threads[-1].start()
            del connection
    for thread in threads:
        thread.join()


class Peer:
    """Connects, sends, checks what comes back, holds some of it, misbehaves."""

    def __init__(self, worker):
        self.worker = worker
        self.held = Held(worker)
        self.connection = None
        self.expected = []
        self.silences = 0

    def turn(self):
        if self.connection is None:
            return self.connect()
        for _ in range(self.worker.random.randint(1, 6)):
            if self.connection is not None:
                self.send()
        if self.connection is not None and self.worker.chance(0.03):
            self.worker.random.choice([self.leave, self.fork_child, self.fill_pool])()
        leave_open = self.worker.random.randrange(3)
        while self.connection is not None and len(self.expected) > leave_open:
            self.receive()
            if self.silences:
                break

    def connect(self):
        try:
            with Timed(self.worker, "connect", 5.0):
                self.connection = pannier.connect(
                    self.worker.random.choice(self.worker.endpoints),
                    timeout=5.0,
                    readonly=self.worker.chance(0.2),
                    link=self.worker.chance(0.9),
                )
        except EXPECTED:
            pass

    def leave(self):
        self.connection.close()
        self.connection, self.expected, self.silences = None, [], 0
        self.worker.lost += 1

    def drop(self):
        if self.connection is not None:
            self.leave()
        self.held.clear()

    def make(self, size, seed):
        array = np.empty(size, np.uint8)
        if self.worker.chance(0.5):
            try:
                array = pannier.empty(size, np.uint8)
            except pannier.PoolExhausted:
                pass
        array[:] = pattern(size, seed)
        return array

    def send(self):
        parcel = self.worker.parcel()
        buffers = [self.make(*piece) for piece in parcel[1]]
        try:
            with Timed(self.worker, "send", 3.0):
                self.connection.send_message(pannier.Message(stream_of(parcel), buffers), 3.0)
            self.expected.append(parcel)
        except pannier.ConnectionLost:
            self.leave()
        except EXPECTED:
            pass

    def receive(self):
        try:
            with Timed(self.worker, "receive", 2.0):
                message = self.connection.recv_message(2.0)
        except pannier.DeadlineExceeded:
            self.silences += 1
            if self.silences >= 3:
                self.leave()
            return
        except EXPECTED:
            return self.leave()
        self.silences = 0
        parcel = self.expected.pop(0)
        if bytes(message.stream) != stream_of(parcel):
            self.worker.violation("an answer that is not the one that was due")
            return self.leave()
        self.held.take(parcel, list(message.buffers))

    def fork_child(self):
        child = os.fork()
        if child == 0:
            try:
                self.connection.send(b"", 1.0)
                os._exit(1)
            except pannier.Forked:
                os._exit(0)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        if status:
            self.worker.violation(f"a forked child ended with {status}")

    def fill_pool(self):
        kept = []
        try:
            while True:
                kept.append(pannier.empty(4 << 20, np.uint8))
        except pannier.PoolExhausted:
            self.send()


def peer(worker):
    one = Peer(worker)
    while stage != "end":
        worker.tick()
        if stage == "run":
            one.turn()
            continue
        one.drop()
        worker.drain()
        time.sleep(0.01)


def server(worker):
    def start(endpoint):
        server = pannier.Server(endpoint)
        server.method(name="echo")(lambda words: words)
        server.start()
        return server

    serving = listening(start, worker)
    while stage != "end":
        worker.tick()
        time.sleep(0.05)
        if stage == "drain":
            worker.drain()
    serving.stop()


def caller(worker):
    client = None
    while stage != "end":
        worker.tick()
        if stage == "drain":
            if client is not None:
                client.close()
            client = None
            worker.drain()
            time.sleep(0.01)
            continue
        try:
            if client is None:
                with Timed(worker, "connect for calls", 3.0):
                    client = pannier.Client(worker.random.choice(worker.endpoints), timeout=3.0)
            size = 8 * worker.random.randrange(5000 if worker.chance(0.9) else 200_000)
            words = pattern(size, worker.random.getrandbits(64)).view(np.uint64)
            with Timed(worker, "call", 3.0):
                back = client.call("echo", words, timeout=3.0)
            if not np.array_equal(back, words):
                worker.violation("the result of a call is not its argument")
            worker.checked(size)
            del back, words
        except pannier.ConnectionLost:
            if client is not None:
                client.close()
            client = None
            worker.lost += 1
        except EXPECTED:
            pass


ROLES = {"hub": hub, "peer": peer, "server": server, "caller": caller}


def on_signal(number, _):
    global stage, stops
    if number == signal.SIGCONT:
        stops += 1
    else:
        stage = {signal.SIGUSR1: "drain", signal.SIGUSR2: "run", signal.SIGTERM: "end"}[number]


def main(role, report, seed, endpoints, environment):
    """The main function of a process. `report` is a Connection of multiprocessing."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    faulthandler.enable()
    for number in (signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, on_signal)
    worker = Worker(report.fileno(), seed, endpoints)
    try:
        ROLES[role](worker)
    except BaseException as error:
        worker.violation(f"{role}: {error!r}")
        raise
