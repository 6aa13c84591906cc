"""Pickles, looked at and rewritten without running them.

A pickle can name any function and have it called when it is loaded. Nothing here does that but
``loads``, which runs only what is known to be harmless, and what its caller allows by name::

    document = codec.decode(data)       # a graph of values; what would be called is a node
    document.to_python()                # as builtins and nodes, with identity and cycles
    document.encode(protocol=4)         # byte for byte as pickle would write it
    codec.dis(data)                     # what pickletools.dis prints
    codec.optimize(data)                # what pickletools.optimize returns
    codec.globals(data)                 # every name that loading it would look up
    codec.loads(data, allow=[...])      # loads it, if it holds nothing but data
"""

from ..errors import ForbiddenGlobal, LimitExceeded, PicklingError, UnpicklingError
from ._document import Document, Limits, decode
from ._nodes import (
    Extension,
    Global,
    Instance,
    NewObj,
    NewObjEx,
    Node,
    Part,
    Persistent,
    Reduce,
    Str8,
)
from ._restricted import loads
from ._tools import GlobalUse, dis, globals, optimize

__all__ = [
    "Document",
    "Extension",
    "ForbiddenGlobal",
    "Global",
    "GlobalUse",
    "Instance",
    "LimitExceeded",
    "Limits",
    "NewObj",
    "NewObjEx",
    "Node",
    "Part",
    "Persistent",
    "PicklingError",
    "Reduce",
    "Str8",
    "UnpicklingError",
    "decode",
    "dis",
    "globals",
    "loads",
    "optimize",
]
