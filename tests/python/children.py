"""What the tests run in other processes. Each function takes a pipe to its test first."""

import itertools
import os
import pickle
import threading
import time
import traceback

import numpy as np

import pannier


def run(pipe, target, arguments):
    """The main function of a child: says "failed" and why, if `target` raises."""
    try:
        target(pipe, *arguments)
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
        os._exit(1)


def where(array):
    """The file and offset behind the bytes of an array, from the page tables of this process."""
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, device, inode = line.split()[:5]
            low, high = (int(part, 16) for part in span.split("-"))
            if low <= address < high:
                return device, int(inode), int(offset, 16) + address - low
    raise AssertionError(f"{address:#x} is not mapped")


def echo(pipe, address, options=()):
    """Sends back each object, until the peer is gone."""
    with pannier.Listener(address, **dict(options)) as listener:
        pipe.send(listener.address)
        with listener.accept(30) as connection:
            while True:
                try:
                    connection.send(connection.recv(60))
                except pannier.ConnectionLost:
                    break
            pipe.send(connection.stats())


def relay(pipe, address, options):
    """Sends back each message as it is, not unpickled."""
    with pannier.Listener(address, **dict(options)) as listener:
        pipe.send(listener.address)
        with listener.accept(30) as connection:
            while True:
                try:
                    connection.send_message(connection.recv_message(60))
                except pannier.ConnectionLost:
                    break


def inspect(pipe, address, options=()):
    """Receives one array at a time, says what it is, writes to it if it may, and drops it when
    told."""
    with pannier.Listener(address, **dict(options)) as listener:
        pipe.send(listener.address)
        with listener.accept(30) as connection:
            while True:
                try:
                    array = connection.recv(60)
                except pannier.ConnectionLost:
                    return
                place = where(array)
                before = array.copy()
                if array.flags.writeable:
                    array[...] = 99
                pipe.send((before, array.flags.writeable, place, connection.stats()))
                assert pipe.recv() == "drop"
                del array
                pipe.send("dropped")


def hold(pipe, address, options=()):
    """Receives and keeps; drops all, or one by number, when told."""
    with pannier.Listener(address, **dict(options)) as listener:
        pipe.send(listener.address)
        with listener.accept(30) as connection:
            held = []
            while True:
                command, argument = pipe.recv()
                if command == "receive":
                    held += [connection.recv(60) for _ in range(argument)]
                elif command == "drop":
                    held[argument] = None
                elif command == "drop in thread":
                    views = [held[argument]]
                    held[argument] = None
                    thread = threading.Thread(target=views.clear)
                    thread.start()
                    thread.join()
                elif command == "drop all":
                    held.clear()
                elif command == "sum":
                    argument = float(sum(array.sum() for array in held if array is not None))
                elif command == "end":
                    return
                pipe.send(argument)


def load_by_hand(pipe, address):
    """The receiver of any message that unpickles by itself."""
    with pannier.Listener(address) as listener:
        pipe.send(listener.address)
        with listener.accept(30) as connection:
            message = connection.recv_message(60)
            obj = pickle.loads(message.stream, buffers=message.buffers)
            sizes = [memoryview(buffer).nbytes for buffer in message.buffers]
            pipe.send((obj, sizes, repr(message)))


def send_and_exit(pipe, address, count, nbytes):
    """Sends, and ends at once without closing."""
    connection = pannier.connect(address, timeout=30)
    for number in range(count):
        connection.send((number, np.full(nbytes, number % 256, np.uint8)))
    pipe.send("sent")


def sender(pipe, address, options=()):
    """Sends arrays of a pool until told to stop, or killed; connects once."""
    connection = pannier.connect(address, timeout=30, **dict(options))
    kept = []
    while True:
        command, argument = pipe.recv()
        if command == "send":
            for number in range(argument):
                array = pannier.empty(8192, np.uint8)
                array[:] = number % 256
                connection.send(array)
                kept.append(array)
            pipe.send(argument)
        elif command == "stream":
            pipe.send("streaming")
            number = 0
            while True:
                connection.send((number, np.full(100_000, number % 256, np.uint8)))
                number += 1
        elif command == "end":
            return


def receiver(pipe, address):
    """Receives as fast as it can and keeps the last few, until killed."""
    with pannier.Listener(address) as listener:
        pipe.send(listener.address)
        connection = listener.accept(30)
        kept = []
        while True:
            kept = [*kept[-20:], connection.recv()]


class Refuser(Exception):
    """Can be pickled and not be loaded: its constructor wants more than its args."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class Custom(Exception):
    pass


class Broken:
    """Raises when it is unpickled."""

    def __init__(self, array):
        self.array = array

    def __setstate__(self, state):
        raise RuntimeError("broken on purpose")


def call_on_and_on(pipe, address, method, *args):
    """Four threads call as fast as they can until that fails; says how often it did not."""
    counts = []

    def call():
        with pannier.Client(address) as client:
            for number in itertools.count():
                try:
                    client.call(method, *args)
                except Exception:
                    counts.append(number)
                    return

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(sum(counts))


def serve(pipe, address, options=()):
    """Methods for the tests of calls."""
    server = pannier.Server(address, **dict(options))
    seen = []

    @server.method
    def add(left, right=1):
        return left + right

    @server.method
    def scale(array, by):
        result = pannier.empty(array.shape, array.dtype)
        np.multiply(array, by, out=result)
        return result

    @server.method
    def keep(array):
        seen.append(array)

    @server.method
    def forget():
        seen.clear()

    @server.method
    def keywords(*args, **kwargs):
        return args, kwargs

    @server.method(name="dotted.name")
    def _():
        return "dotted"

    @server.method
    def fail(kind):
        if kind == "value":
            raise ValueError("no such value")
        if kind == "chain":
            try:
                {}["key"]
            except KeyError as error:
                raise Custom("from a key") from error
        if kind == "refuser":
            raise Refuser(1, 2)
        if kind == "local":

            class Local(Exception):
                pass

            raise Local("cannot be pickled")
        if kind == "result":
            return threading.Lock()
        if kind == "exit":
            raise SystemExit(7)
        return None

    @server.method
    def wait(seconds):
        time.sleep(seconds)
        return seconds

    @server.method
    def end():
        server.stop()
        return "stopping"

    @server.method
    def die():
        os._exit(3)

    server.start()
    pipe.send(server.address)
    server._thread.join()
    pipe.send("served")


def caller(pipe, address):
    """Calls `ones` for ever and keeps the last results, until killed."""
    client = pannier.Client(address)
    kept = [client.ones(np.zeros(5000))]
    pipe.send("calling")
    while True:
        kept = [*kept[-5:], client.ones(np.zeros(5000))]
