"""A program that is a worker by the protocol of rpc/worker.h, and knows no Executor."""

import argparse
import os
import signal
import threading

import pannier

parser = argparse.ArgumentParser()
parser.add_argument("--endpoint", required=True)
parser.add_argument("--parent-fd", type=int, required=True)
parser.add_argument("--ready-fd", type=int, required=True)
options = parser.parse_args()

server = pannier.Server(options.endpoint)


@server.method
def scale(x, k):
    return k * x


@server.method
def lose(what):
    raise pannier.ConnectionLost(what)


def watch():
    os.read(options.parent_fd, 1)
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server._core.listen(options.endpoint)
os.write(options.ready_fd, f"{server.address}\n".encode())
os.close(options.ready_fd)
server._serve()
