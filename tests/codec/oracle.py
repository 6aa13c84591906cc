"""The codec beside CPython's unpickler and pickler: do both accept a stream, and make the same of
it? Used by tests and by differential.py.

CPython is given a find_class that imports nothing: what it returns records what is done to it, so
that its result can be laid beside codec.decode(...).to_python(), object by object.
"""

import _compat_pickle
import copyreg
import io
import pickle
import re
import struct

from pannier import codec


class Difference(AssertionError):
    """The two disagree."""


class Deviation(Exception):
    """They disagree as docs/codec.md, "Deviations", says they do."""


class _Recorder:
    """A method that records its call, on instances of Symbol and on its subclasses alike: a pickle
    may do to a class what it does to an object."""

    def __init__(self, kind):
        self.kind = kind

    def __get__(self, instance, owner):
        done = owner.class_parts if instance is None else instance.parts

        def record(*values):
            if self.kind == "append" and done and done[-1][0] == "append":
                done[-1][1].extend(values[0])
            elif self.kind == "append":
                done.append(("append", list(values[0])))
            elif self.kind in ("add", "setitem"):
                item = values[0] if self.kind == "add" else values
                if not done or done[-1][0] != self.kind:
                    done.append((self.kind, []))
                done[-1][1].append(item)
            else:
                done.append((self.kind, list(values)))

        return record


class _SymbolType(type):
    """Symbols that are classes: of these NEWOBJ makes objects."""

    def __call__(cls, *args):
        made = object.__new__(cls)
        made.how, made.callee, made.args, made.kwargs, made.parts = "call", cls, args, {}, []
        return made

    def __setitem__(cls, key, value):
        cls.__dict__["set_item"].__get__(None, cls)(key, value)


class Symbol(metaclass=_SymbolType):
    """What is found in a module: subclasses of this. What they make: its instances."""

    class_parts = []

    def __new__(cls, *args, **kwargs):
        made = object.__new__(cls)
        made.how, made.callee, made.args, made.kwargs, made.parts = "new", cls, args, kwargs, []
        return made

    def __call__(self, *args):
        made = object.__new__(Symbol)
        made.how, made.callee, made.args, made.kwargs, made.parts = "call", self, args, {}, []
        return made

    __setstate__ = _Recorder("state")
    extend = _Recorder("append")
    add = _Recorder("add")
    set_item = _Recorder("setitem")

    def append(self, value):
        self.extend([value])

    def __setitem__(self, key, value):
        self.set_item(key, value)


class Persistent:
    """What CPython's unpickler is given for a persistent id."""

    def __init__(self, pid):
        self.pid = pid
        self.parts = []

    __setstate__ = _Recorder("state")
    extend = _Recorder("append")
    add = _Recorder("add")
    set_item = _Recorder("setitem")
    __setitem__ = Symbol.__setitem__
    __call__ = Symbol.__call__


class Oracle(pickle.Unpickler):
    """CPython's unpickler, which imports nothing."""

    def __init__(self, stream, **options):
        super().__init__(io.BytesIO(stream), **options)
        self.fix_imports = options.get("fix_imports", True)
        self.found = {}

    def find_class(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("names are texts")
        if (module, name) not in self.found:
            members = {"module": module, "global_name": name, "class_parts": []}
            members["set_item"] = Symbol.__dict__["set_item"]
            for attribute in ("__setstate__", "extend", "add", "append"):
                members[attribute] = Symbol.__dict__[attribute]
            # A class's own append would be called without self.
            self.found[module, name] = _SymbolType("Found", (Symbol,), members)
        return self.found[module, name]

    def persistent_load(self, pid):
        return Persistent(pid)


EXTENSIONS = "extension of the oracle"


def oracle_load(stream, **options):
    """What CPython makes of `stream`; raises what it raises."""
    codes = set()
    try:
        codes = {use.extension for use in codec.globals(stream)}
    except codec.UnpicklingError as error:
        codes = {use.extension for use in error.output}
    registry, cache = copyreg._inverted_registry, copyreg._extension_cache
    mine = [code for code in codes - {0} if code not in registry]
    for code in mine:
        registry[code] = (EXTENSIONS, str(code))
    try:
        return Oracle(stream, **options).load()
    finally:
        for code in mine:
            registry.pop(code, None)
        cache.clear()


def _bits(value):
    return struct.pack("<d", value)


class _Comparison:
    """Whether two graphs are the same: `ours` of nodes, `theirs` of symbols."""

    def __init__(self, fix_imports):
        self.fix_imports = fix_imports
        self.pending = []
        self.ours = {}
        self.theirs = {}
        self.alive = []

    def run(self, ours, theirs):
        self.later(ours, theirs)
        while self.pending:
            self.compare(*self.pending.pop())

    def later(self, ours, theirs):
        self.pending.append((ours, theirs))

    def all_later(self, ours, theirs, what):
        if len(ours) != len(theirs):
            raise Difference(f"{what}: {len(ours)} and {len(theirs)} values")
        self.pending.extend(zip(ours, theirs))

    def seen(self, ours, theirs):
        """Notes that both are the same object; True if that was known."""
        known = id(ours) in self.ours or id(theirs) in self.theirs
        if known and (
            self.ours.get(id(ours)) != id(theirs) or self.theirs.get(id(theirs)) != id(ours)
        ):
            raise Difference(f"objects are shared differently: {type(ours)} and {type(theirs)}")
        self.ours[id(ours)], self.theirs[id(theirs)] = id(theirs), id(ours)
        self.alive.append((ours, theirs))
        return known

    def compare(self, ours, theirs):
        if isinstance(ours, codec.Node):
            self.compare_node(ours, theirs)
            return
        if type(ours) is not type(theirs):
            raise Difference(f"{type(ours)} and {type(theirs)}")
        if isinstance(ours, float):
            if _bits(ours) != _bits(theirs):
                raise Difference(f"{ours!r} and {theirs!r}")
        elif isinstance(ours, (list, tuple)):
            if ours != () and not self.seen(ours, theirs):
                self.all_later(ours, theirs, type(ours).__name__)
        elif isinstance(ours, dict):
            if not self.seen(ours, theirs):
                self.all_later(ours.keys(), theirs.keys(), "dict")
                self.all_later(ours.values(), theirs.values(), "dict")
        elif isinstance(ours, (set, frozenset)):
            if not self.seen(ours, theirs):
                self.compare_sets(ours, theirs)
        elif isinstance(ours, bytearray):
            if not self.seen(ours, theirs) and ours != theirs:
                raise Difference(f"{ours!r} and {theirs!r}")
        elif isinstance(ours, memoryview):
            if ours.tobytes() != theirs.tobytes() or ours.readonly != theirs.readonly:
                raise Difference("memoryviews")
        elif ours != theirs:
            raise Difference(f"{ours!r:.200} and {theirs!r:.200}")

    def compare_sets(self, ours, theirs):
        """Elements that Python compares by value are paired; others are only counted."""
        if len(ours) != len(theirs):
            raise Difference(f"sets of {len(ours)} and {len(theirs)} elements")
        simple = (int, float, str, bytes, bool, type(None))
        mine = sorted((repr(type(x)), repr(x)) for x in ours if isinstance(x, simple))
        other = sorted((repr(type(x)), repr(x)) for x in theirs if isinstance(x, simple))
        if mine != other:
            raise Difference(f"elements {mine!r:.200} and {other!r:.200}")

    def compare_node(self, ours, theirs):
        kind = type(ours).__name__
        if isinstance(ours, (codec.Global, codec.Extension)):
            self.compare_global(ours, theirs)
            return
        if isinstance(ours, codec.Persistent):
            if not isinstance(theirs, Persistent):
                raise Difference(f"Persistent and {type(theirs)}")
            if not self.seen(ours, theirs):
                self.later(ours.id, theirs.pid)
                self.compare_parts(ours.parts, theirs.parts)
            return
        if not isinstance(theirs, Symbol):
            raise Difference(f"{kind} and {type(theirs)}")
        if self.seen(ours, theirs):
            return
        how = {"Reduce": "call", "NewObj": "new", "NewObjEx": "new"}.get(kind)
        if kind == "Instance":
            how = "call" if ours.args or isinstance(theirs.callee, Symbol) else "new"
        if how != theirs.how:
            raise Difference(f"{kind} and {theirs.how}")
        self.later(ours.callee, theirs.callee)
        # Tuples of arguments are made anew for a call.
        if not isinstance(ours.args, tuple):
            raise Deviation("arguments that a call makes")
        self.all_later(ours.args, theirs.args, "arguments")
        kwargs = getattr(ours, "kwargs", {})
        if not isinstance(kwargs, dict):
            raise Deviation("arguments that a call makes")
        self.all_later(kwargs.keys(), theirs.kwargs.keys(), "keyword arguments")
        self.all_later(kwargs.values(), theirs.kwargs.values(), "keyword arguments")
        self.compare_parts(ours.parts, theirs.parts)

    def compare_global(self, ours, theirs):
        if not isinstance(theirs, _SymbolType):
            raise Difference(f"{type(ours).__name__} and {type(theirs)}")
        if isinstance(ours, codec.Extension):
            if (theirs.module, theirs.global_name) != (EXTENSIONS, str(ours.code)):
                raise Difference(f"code {ours.code} and {theirs.module}.{theirs.global_name}")
            if len(ours.parts) != len(theirs.class_parts):
                raise Deviation("an extension code at two places is two values")
        else:
            names = _names(theirs.module, theirs.global_name, self.fix_imports)
            if (ours.module, ours.name) not in names:
                raise Difference(f"{ours} and {names}")
        if id(ours) not in self.ours:
            self.ours[id(ours)] = id(theirs)
            self.alive.append((ours, theirs))
            self.compare_parts(ours.parts, theirs.class_parts)

    def compare_parts(self, ours, theirs):
        # A setter is an ordinary call for CPython, whose result is dropped.
        ours = [part for part in ours if part.kind != "setter"]
        merged = []
        for kind, values in ours:
            if merged and merged[-1][0] == kind != "state":
                merged[-1][1].extend(values)
            else:
                merged.append((kind, list(values)))
        if [kind for kind, _ in merged] != [kind for kind, _ in theirs]:
            raise Difference(f"parts {[p[0] for p in merged]} and {[p[0] for p in theirs]}")
        for (kind, mine), (_, other) in zip(merged, theirs):
            if kind != "setitem":
                self.all_later(mine, other, kind)
                continue
            if len(mine) != len(other):
                raise Difference(f"setitem: {len(mine)} and {len(other)} pairs")
            for pair, its_pair in zip(mine, other):  # tuples of our own making on both sides
                self.all_later(pair, its_pair, kind)


def _names(module, name, fix_imports):
    """What the unpickler may look up for a name: it depends on the protocol whether names of
    Python 2 are mapped, which find_class is not told."""
    if not fix_imports:
        return {(module, name)}
    mapped = _compat_pickle.NAME_MAPPING.get((module, name))
    return {(module, name), mapped or (_compat_pickle.IMPORT_MAPPING.get(module, module), name)}


# Each row: the table of docs/codec.md has the same, and nothing else is let pass.
# What only the codec refuses, by its message:
_REFUSED_HERE = {
    "frames": re.compile(r"the frame ends inside|a frame begins inside|a frame of \d+ bytes"),
    "append to a bytearray": re.compile(r"what is appended to is of type bytearray"),
    "read-only view of something else": re.compile(r"what becomes read-only is of type"),
}
# What only CPython refuses, by its message, which names a type of this file where a call's
# result is not what the codec has to take it for:
_REFUSED_THERE = {
    "a call's result may be anything": re.compile(r"Symbol|Found|Persistent"),
    "arguments that a call makes": re.compile(r"argument list|expected an arg tuple|kwargs"),
}


def _deviation(ours, theirs):
    """The name of the deviation that explains why one side alone raised; None if none does."""
    if isinstance(ours, codec.LimitExceeded):
        return "limits"
    if ours is not None:
        return next((name for name, said in _REFUSED_HERE.items() if said.search(str(ours))), None)
    if isinstance(theirs, MemoryError):
        return "a memo index of any size"
    return next((name for name, said in _REFUSED_THERE.items() if said.search(str(theirs))), None)


def compare(stream, *, buffers=None, encoding="ASCII", errors="strict", fix_imports=True):
    """Gives `stream` to both. Returns the Document, or None if both refuse it. Raises Difference,
    or Deviation where the documentation has the difference."""
    options = {"encoding": encoding, "errors": errors, "fix_imports": fix_imports}
    document = ours = theirs = result = None
    try:
        document = codec.decode(stream, buffers=buffers, **options)
        value = document.to_python()
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        ours = error
    try:
        result = oracle_load(stream, buffers=buffers, **options)
    except Exception as error:
        theirs = error
    if ours is not None and theirs is not None:
        return None
    if ours is not None or theirs is not None:
        name = _deviation(ours, theirs)
        if name is not None:
            raise Deviation(name)
        raise Difference(f"here {ours!r}, there {theirs!r}")
    _Comparison(fix_imports).run(value, result)
    check_encoding(document, stream, result)
    return document


def check_encoding(document, stream, result):
    """What CPython writes as it was, the codec does too; and what it writes is what it read."""
    for protocol in range(6):
        try:
            again = pickle.dumps(result, protocol)
        except Exception:  # symbols do not pickle
            break
        if again == stream[: document.consumed] and document.encode(protocol) != again:
            raise Difference(f"encoded differently in protocol {protocol}")
    try:
        again = document.encode(5, buffer_callback=lambda buffer: None)
    except codec.PicklingError as error:
        raise Difference(f"does not encode: {error}") from error
    given = []
    document.encode(5, buffer_callback=given.append)
    second = codec.decode(again, buffers=given, encoding=None)
    if not document == second:
        raise Difference("is not what it encodes to")
    if second.encode(5, buffer_callback=lambda buffer: None) != again:
        raise Difference("encodes differently a second time")
