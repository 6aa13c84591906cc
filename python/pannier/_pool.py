"""Pools: shared memory that this process owns, and arrays in it that are sent without a copy."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np

from . import _core
from ._closing import Closing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Shape = SupportsIndex | Sequence[SupportsIndex]
    Order = Literal["C", "F"]

__all__ = ["PeerLeases", "Pool", "PoolStats", "asarray", "empty", "ones", "pool", "zeros"]


@dataclass(frozen=True)
class PeerLeases:
    """What one peer holds: `leases` buffers, of `bytes` bytes together, the one that it has held
    longest for `oldest` seconds."""

    peer: str
    leases: int
    bytes: int
    oldest: float


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment. Sizes are bytes; used and free ones are of whole pages."""

    quota: int
    segments: int
    segment_bytes: int
    used_bytes: int
    free_bytes: int
    largest_free_bytes: int
    high_water_bytes: int
    blocks: int
    allocations: int
    copied_bytes: int
    peers: list[PeerLeases]

    @property
    def fragmentation(self) -> float:
        """The part of the free bytes that does not lie in the largest free piece: 0.0 to 1.0."""
        return 1.0 - self.largest_free_bytes / self.free_bytes if self.free_bytes else 0.0


class Pool(Closing):
    """Shared memory of this process, handed to peers by lease.

    Arrays made here are plain ``numpy.ndarray``. Sending one copies nothing: its peers read it
    in place, so do not write to it until the leases are home (``wait``). Its memory is free again
    when the array and all views of it are dead and no peer holds a lease.

    `quota` is the most bytes that the pool takes from the system, 0 for the default: half of
    the memory that the process may use, or ``PANNIER_POOL_QUOTA``. `leases_per_peer` is the
    most buffers that one peer may hold at a time. `warm` bytes are taken at once, so that the
    first arrays are as fast as later ones, and kept; what is unused beyond them goes back to the
    system after `idle_time` seconds (None: never).

    With `debug`, or ``PANNIER_DEBUG=1`` in the environment, arrays are read-only memory while
    leases on them are out: a write that should have waited ends the process with SIGSEGV where it
    happens (``python -X faulthandler`` shows the line). It costs two system calls per lease.

    Thread-safe. A forked child cannot use it.
    """

    __slots__ = ("__weakref__", "_closed", "_core", "_name")

    def __init__(
        self,
        quota: int = 0,
        *,
        name: str = "pool",
        leases_per_peer: int = 16384,
        warm: int = 0,
        idle_time: float | None = 10.0,
        debug: bool = False,
    ) -> None:
        for what, value in (("quota", quota), ("warm", warm), ("idle_time", idle_time or 0)):
            if not value >= 0:
                raise ValueError(f"{what} must not be negative: {value}")
        self._core = _core.Pool.create(quota, name, leases_per_peer, warm, idle_time, debug)
        self._name = name
        self._closed = False

    @property
    def name(self) -> str:
        """For messages."""
        return self._name

    def empty(
        self,
        shape: Shape,
        dtype: DTypeLike = float,
        order: Order = "C",
        *,
        timeout: float | None = 0.0,
    ) -> NDArray[Any]:
        """A writable array with unspecified contents, in a block of its own.

        If the quota is reached, waits up to `timeout` seconds (None: for ever) for peers to hand
        back what they hold. Raises PoolExhausted, naming the peers that hold most; TypeError for
        dtypes that hold objects; ValueError for wrong shapes.
        """
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise TypeError(f"arrays of {dtype!r} hold Python objects and cannot lie in a pool")
        shape = _dimensions(shape)
        if shape and min(shape) < 0:
            raise ValueError(f"negative dimensions are not allowed: {shape}")
        size = prod(shape) * dtype.itemsize
        if size > sys.maxsize:
            raise ValueError(f"an array of {size} bytes is larger than any address space")
        if size == 0:
            return np.empty(shape, dtype, order)
        block: Any = self._core.allocate(size, timeout)
        return np.ndarray(shape, dtype, block, order=order)

    def zeros(
        self,
        shape: Shape,
        dtype: DTypeLike = float,
        order: Order = "C",
        *,
        timeout: float | None = 0.0,
    ) -> NDArray[Any]:
        """As ``empty``, filled with zeros."""
        array = self.empty(shape, dtype, order, timeout=timeout)
        array.fill(0)
        return array

    def ones(
        self,
        shape: Shape,
        dtype: DTypeLike = float,
        order: Order = "C",
        *,
        timeout: float | None = 0.0,
    ) -> NDArray[Any]:
        """As ``empty``, filled with ones."""
        array = self.empty(shape, dtype, order, timeout=timeout)
        array.fill(1)
        return array

    def asarray(
        self, a: ArrayLike, dtype: DTypeLike | None = None, *, timeout: float | None = 0.0
    ) -> NDArray[Any]:
        """`a` as a contiguous array in this pool: itself, if it is one already, else a copy.
        Errors as for ``empty``."""
        array = np.asarray(a, dtype)
        if self.contains(array):
            return array
        order: Order = "F" if array.flags.fnc else "C"
        copy = self.empty(array.shape, array.dtype, order, timeout=timeout)
        np.copyto(copy, array)
        return copy

    def contains(self, array: NDArray[Any]) -> bool:
        """True if the bytes of a contiguous array lie in this pool, so that it is sent without
        a copy. False for an array of no bytes."""
        flags = array.flags
        contiguous = flags.c_contiguous or flags.f_contiguous
        return contiguous and self._core.contains(_address(array), array.nbytes)

    def leases(self, array: NDArray[Any]) -> int:
        """How many leases are out on the block in which `array` lies. Raises ValueError if it
        does not lie in this pool."""
        return self._core.leases(_address(array))

    def wait(self, array: NDArray[Any], timeout: float | None = None) -> None:
        """Waits until no lease is out on the block in which `array` lies: from then on it may be
        written to. Raises DeadlineExceeded after `timeout` seconds; ValueError as ``leases``."""
        self._core.wait(_address(array), timeout)

    def trim(self) -> int:
        """Gives unused memory back to the system; the bytes given back."""
        return self._core.trim()

    def stats(self) -> PoolStats:
        """Counts, after collecting what peers handed back."""
        stats = self._core.stats()
        stats["peers"] = [PeerLeases(*peer) for peer in stats["peers"]]
        return PoolStats(**stats)

    def close(self) -> None:
        """No new arrays, copies or connections from now on (``Closed``). Arrays and what peers hold
        stay good, and their memory goes back to the system as they die. More than once is no error.
        Raises ValueError for the process's own pool, which lives as long as the process."""
        if self is _default:
            raise ValueError("the default pool cannot be closed; trim() gives unused memory back")
        self._core.close()
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f"<pannier.Pool {self._name!r}: {stats.used_bytes} of {stats.quota} bytes used, "
            f"{stats.blocks} blocks, {sum(peer.leases for peer in stats.peers)} leases out"
            f"{', closed' if self._closed else ''}>"
        )


_default: Pool | None = None


def pool() -> Pool:
    """The pool that the connections of this process use unless told otherwise. A forked child has
    a new one."""
    global _default
    if _default is None:
        default = Pool.__new__(Pool)
        default._core = _core.Pool.default()
        default._name = "default"
        default._closed = False
        _default = default
    return _default


def _forget_default() -> None:
    global _default
    _default = None


os.register_at_fork(after_in_child=_forget_default)


def empty(
    shape: Shape,
    dtype: DTypeLike = float,
    order: Order = "C",
    *,
    pool: Pool | None = None,
    timeout: float | None = 0.0,
) -> NDArray[Any]:
    """A writable array in a pool: see ``Pool.empty``."""
    return _chosen(pool).empty(shape, dtype, order, timeout=timeout)


def zeros(
    shape: Shape,
    dtype: DTypeLike = float,
    order: Order = "C",
    *,
    pool: Pool | None = None,
    timeout: float | None = 0.0,
) -> NDArray[Any]:
    """As ``empty``, filled with zeros."""
    return _chosen(pool).zeros(shape, dtype, order, timeout=timeout)


def ones(
    shape: Shape,
    dtype: DTypeLike = float,
    order: Order = "C",
    *,
    pool: Pool | None = None,
    timeout: float | None = 0.0,
) -> NDArray[Any]:
    """As ``empty``, filled with ones."""
    return _chosen(pool).ones(shape, dtype, order, timeout=timeout)


def asarray(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    *,
    pool: Pool | None = None,
    timeout: float | None = 0.0,
) -> NDArray[Any]:
    """`a` as a contiguous array in a pool: see ``Pool.asarray``."""
    return _chosen(pool).asarray(a, dtype, timeout=timeout)


_get_default = pool


def _chosen(pool: Pool | None) -> Pool:
    return _get_default() if pool is None else pool


def _dimensions(shape: Shape) -> tuple[int, ...]:
    if type(shape) is tuple:
        return tuple(map(index, shape))
    if isinstance(shape, SupportsIndex):
        return (index(shape),)
    return tuple(map(index, shape))


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
