"""Servers that the tests of calls run in other processes."""

import asyncio
import os
import threading
import time

import numpy as np

import pannier


class Told(list):
    """What handlers saw, for the test to ask."""


def serve(pipe, address, options=(), settings=()):
    """Methods of every form. Answers the pipe's questions of what they saw until told to end."""
    server = pannier.Server(address, **dict(options), **dict(settings))
    told = Told()
    gate = threading.Event()

    @server.method
    def echo(value):
        """Gives back what it gets."""
        return value

    @server.method
    def add(left, right=1):
        return left + right

    @server.method
    def note(value):
        told.append(value)

    @server.method
    def told_so_far():
        return list(told)

    @server.method
    def block(seconds=30.0):
        """Runs until told to go on; asks nothing of pannier."""
        told.append("blocks")
        gate.wait(seconds)
        return "went on"

    @server.method
    def poll(seconds=30.0):
        """Runs until nobody waits for it."""
        call = pannier.current_call()
        told.append("polls")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if call.cancelled:
                try:
                    call.check()
                except Exception as error:
                    told.append(type(error).__name__)
                return "nobody waits"
            time.sleep(0.002)
        told.append("ran out")
        return "ran out"

    @server.method
    def touch(seconds=30.0):
        """Calls pannier until that raises."""
        told.append("touches")
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                pannier.empty(8)
                time.sleep(0.002)
        except Exception as error:
            told.append(type(error).__name__)
            pannier.empty(8)  # told once: what tidies up may use pannier
            told.append("tidied")
            raise
        told.append("ran out")

    @server.method
    def who():
        call = pannier.current_call()
        return call.method, call.remaining, call.peer, repr(call)

    @server.method
    def count(stop, start=0, nbytes=0):
        told.append("counts")
        try:
            for number in range(start, stop):
                told.append(number)
                yield np.full(nbytes, number % 256, np.uint8) if nbytes else number
        finally:
            told.append("closed")
        return "counted"

    @server.method
    def break_after(number):
        yield from range(number)
        raise ValueError("broken on purpose")

    @server.method
    def spoil_after(number):
        yield from range(number)
        yield threading.Lock()

    @server.method
    async def sleep(seconds, value=None):
        told.append("sleeps")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        return value, pannier.current_call().method

    @server.method
    async def count_async(stop):
        try:
            for number in range(stop):
                await asyncio.sleep(0)
                told.append(number)
                yield number
        finally:
            told.append("closed")

    @server.method
    def die():
        os._exit(3)

    server.start()
    pipe.send(server.address)
    while True:
        question = pipe.recv()
        if question == "told":
            answer = list(told)
        elif question == "go on":
            gate.set()
            answer = None
        elif question == "stats":
            answer = server.stats()
        elif question == "leases":
            answer = sum(peer.leases for peer in pannier.pool().stats().peers)
        elif question == "end":
            server.stop()
            pipe.send("ended")
            return
        else:
            server.stop(**question)
            answer = "stopped"
        pipe.send(answer)


def call_for_ever(pipe, address, method, arguments):
    """A caller that is going to be killed."""
    client = pannier.Client(address)
    pending = client.submit(method, *arguments)
    pipe.send("sent")
    pending.result()


def read_for_ever(pipe, address):
    """A reader of a stream that is going to be killed."""
    client = pannier.Client(address)
    stream = client.stream("count", 10**9, nbytes=100_000, credit=4)
    kept = [next(stream) for _ in range(3)]
    pipe.send(len(kept))
    pipe.recv()
