"""Reducers of what its package pickles in band though it could go out of band.

What they return names functions of that package (and of ``operator``) alone, so a receiver needs
no pannier. Arrays below the threshold, and all that is not said to be reduced otherwise, are
reduced as their package does it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _pool
from .errors import Error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Reducer = Callable[[Any], Any]

__all__ = ["ARRAY_THRESHOLD", "reducers_for"]

# In bytes. Measured by bench/pickling.py: below half of it NumPy's own way is faster.
ARRAY_THRESHOLD = 32 * 1024

# What NumPy itself pickles out of band, if it is contiguous: the common part of it.
_NUMBERS = frozenset(np.dtype(code) for code in "?bhilqBHILQefdgFDG")

# Numbers, texts, structures and times: bytes that mean the same wherever they are.
_PLAIN_KINDS = frozenset("biufcSUVmM")

# Whether NumPy pickles arrays out of band whose axes stand in another order than C's or
# Fortran's, as from 2.4 on.
_KEEPS_AXES = len(np.empty((2, 3, 4)).transpose(1, 2, 0).__reduce_ex__(5)) == 2


def _array_reducer(pool: _pool.Pool | None) -> Reducer:
    def reduce_array(array: NDArray[Any]) -> Any:
        # Nearly all arrays, so this line counts.
        if array.dtype in _NUMBERS and array.flags.forc:
            return array.__reduce_ex__(5)
        return _reduce_other_array(array, pool)

    return reduce_array


def _reduce_other_array(array: NDArray[Any], pool: _pool.Pool | None) -> Any:
    """Times (datetime64, timedelta64) as the integers that they are, which no buffer's format can
    say; strided arrays as their one copy, in C order as NumPy's own, in a block of `pool`."""
    dtype = array.dtype
    if array.nbytes < ARRAY_THRESHOLD or dtype.kind not in _PLAIN_KINDS or dtype.hasobject:
        return array.__reduce_ex__(5)
    if not array.flags.forc and not (_KEEPS_AXES and _dense(array)):
        array = _copied(array, pool)
    if dtype.kind not in "mM":
        return array.__reduce_ex__(5)
    reduced: Any = array.view(np.int64).__reduce_ex__(5)
    function, (buffer, _, *how) = reduced
    return function, (buffer, dtype, *how)


def _by_stride(strides: tuple[int, ...]) -> list[int]:
    """The axes, from that of the largest stride to that of the smallest."""
    return sorted(range(len(strides)), key=strides.__getitem__, reverse=True)


def _dense(array: NDArray[Any]) -> bool:
    return array.transpose(_by_stride(array.strides)).flags.c_contiguous


def _copied(array: NDArray[Any], pool: _pool.Pool | None) -> NDArray[Any]:
    try:
        copy = _pool.empty(array.shape, array.dtype, pool=pool)
    except (Error, OSError, MemoryError):  # the send then waits for room, or says what is wrong
        return array.copy()
    if array.dtype.kind == "V":  # bytes between the fields too: no old ones of the block
        raw = np.dtype((np.void, array.dtype.itemsize))
        np.copyto(copy.view(raw), array.view(raw))
    else:
        np.copyto(copy, array)
    return copy


def _tensor_reducer(torch: Any) -> Reducer:
    """Tensors of the CPU as the NumPy array of their memory, at any length: torch's own way saves
    a file. Neither keeps what tensors share. `torch` is the module."""
    strided, from_numpy = torch.strided, torch.from_numpy
    alike = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # by bytes

    def reduce_tensor(tensor: Any) -> Any:
        if (
            tensor.device.type != "cpu"
            or tensor.layout is not strided
            or tensor.is_quantized
            or tensor.is_nested
            or tensor.is_conj()
            or tensor.is_neg()
            or tensor._backward_hooks
            or tensor.__dict__
            or any(name is not None for name in getattr(tensor, "names", ()))
        ):
            return tensor.__reduce_ex__(5)
        if tensor.requires_grad:
            return methodcaller("requires_grad_"), (tensor.detach(),)
        if not tensor.is_contiguous():
            axes = _by_stride(tensor.stride())
            dense = tensor.permute(axes)
            if dense.is_contiguous():  # its axes stand in another order: so they arrive
                return methodcaller("permute", tuple(np.argsort(axes).tolist())), (dense,)
        try:
            return from_numpy, (tensor.numpy(),)
        except TypeError:  # NumPy has no such numbers: bfloat16, float8
            integers = alike.get(tensor.element_size())
            if integers is None:
                return tensor.__reduce_ex__(5)
            return methodcaller("view", tensor.dtype), (tensor.view(integers),)

    return reduce_tensor


def reducers_for(pool: _pool.Pool | None) -> dict[type, Reducer]:
    """The reducers of the packages that are imported, by exact type. Subclasses are not theirs."""
    reducers: dict[type, Reducer] = {np.ndarray: _array_reducer(pool)}
    torch: Any = sys.modules.get("torch")
    with contextlib.suppress(AttributeError):  # not imported, or not to its end yet
        reducers[torch.Tensor] = _tensor_reducer(torch)
    return reducers
