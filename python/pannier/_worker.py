"""What a worker process of an Executor runs."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from .server import Server, _current, _failure
from .trust import loads_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["RUN", "STOP", "dumps_anything", "main"]

# The methods of a worker: call a function; end.
RUN = "pannier.run"
STOP = "pannier.stop"


def dumps_anything(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pickles `obj` by the C pickler, and with cloudpickle, where it is installed, what that
    cannot do: lambdas, closures, classes of functions. Raises what the first one raised."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        return pickle.dumps(obj, 5, buffer_callback=buffers.append), buffers
    except (pickle.PicklingError, AttributeError, TypeError):
        return dumps_by_value(obj)


def dumps_by_value(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    try:
        import cloudpickle
    except ImportError:
        cloudpickle = None
    buffers: list[pickle.PickleBuffer] = []
    if cloudpickle is not None:
        with contextlib.suppress(Exception):
            return cloudpickle.dumps(obj, 5, buffer_callback=buffers.append), buffers
        buffers.clear()
    return pickle.dumps(obj, 5, buffer_callback=buffers.append), buffers


class _Runner:
    """The method RUN: calls its first argument with the others. Does not raise."""

    def __call__(
        self, stream: Any, buffers: Any, keywords: bool, context: _core.CallContext
    ) -> Any:
        token = _current.set(context)
        try:
            load = loads_for(context.same_user, context.peer, {})
            args, kwargs = load(stream, buffers), {}
            del stream, buffers
            if keywords:
                args, kwargs = args
            result = args[0](*args[1:], **kwargs)
            del args, kwargs
            return dumps_anything(result)
        except BaseException as error:
            return _failure_of_task(error)
        finally:
            _current.reset(token)


def _failure_of_task(error: BaseException) -> _core.Failure:
    pickled = b""
    with contextlib.suppress(Exception):
        pickled = pickle.dumps(error, 5)
    if not pickled:
        with contextlib.suppress(Exception):
            import cloudpickle

            pickled = cloudpickle.dumps(error, 5)
    return _failure(error, pickled)


def main(
    address: str,
    ready: Connection,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Serves its parent until that says STOP or is gone."""
    threading.Thread(target=_end_with_parent, name="pannier-parent", daemon=True).start()
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException:
            logging.getLogger("pannier").critical("Exception in initializer:", exc_info=True)
            # The parent sees the end of the process.
            return
    server = Server(address)
    server._core.method(RUN, _Runner(), "run(function, *args, **kwargs)", "")
    server.method(server._core.stop, name=STOP)
    server._core.listen(address)
    ready.send(server.address)
    ready.close()
    with contextlib.suppress(KeyboardInterrupt):  # meant for the parent, which decides
        server._serve()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
