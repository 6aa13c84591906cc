"""Pickles of functions and of what they are called with: by cloudpickle, where it is installed, what
CPython's pickler cannot do: lambdas, closures, classes of functions."""

from __future__ import annotations

import contextlib
import functools
import pickle
from typing import Any

from .pickling import Pickling

__all__ = ["dumps_anything", "dumps_by_value", "dumps_error"]

_pickle = Pickling()


def dumps_anything(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """The stream of `obj` and its buffers. Raises what CPython's pickler raised."""
    try:
        return _pickle(obj)
    except (pickle.PicklingError, AttributeError, TypeError):
        if _by_value() is None:
            raise
        with contextlib.suppress(Exception):
            return dumps_by_value(obj)
        raise


def dumps_by_value(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """As dumps_anything, and functions of ``__main__`` by value, where cloudpickle is installed."""
    return (_by_value() or _pickle)(obj)


def dumps_error(error: BaseException) -> bytes:
    """A pickle in one piece; empty if it cannot be pickled."""
    with contextlib.suppress(Exception):
        return pickle.dumps(error, 5)
    with contextlib.suppress(Exception):
        import cloudpickle  # type: ignore[import-untyped,unused-ignore]

        return bytes(cloudpickle.dumps(error, 5))
    return b""


@functools.cache
def _by_value() -> Pickling | None:
    try:
        import cloudpickle  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    return Pickling(None, cloudpickle.Pickler)
