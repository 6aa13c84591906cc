"""Gathers the streams of CPython's own tests for pickle, from the Python that runs this.

    python3.X gather.py > streams.jsonl

Runs on 3.6 to 3.13, where the package `test` is installed. A stream is whatever these tests load
or dump, and every bytes literal in their source. A line is a JSON object: `stream` (base64),
`options` of loads(), `accepted`: whether this Python's C unpickler takes it with these options,
while what it would import is a stand-in that takes everything; `error` is the type of what it
raises.
"""

import ast
import base64
import copyreg
import importlib
import inspect
import io
import json
import pickle
import resource
import struct
import sys
import unittest

MODULES = ("test.pickletester", "test.test_pickle", "test.test_pickletools", "test.test_picklebuffer")
LONGEST = 1 << 17


class Anything(type):
    """Classes that take whatever is done to them."""

    def __call__(cls, *args):
        return object.__new__(cls)

    def __setitem__(cls, key, value):
        pass


class Takes:
    """A method of class and instance alike."""

    def __get__(self, instance, owner):
        return lambda *args: None


class Thing(metaclass=Anything):
    __setstate__ = append = extend = add = Takes()

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __call__(self, *args):
        return object.__new__(Thing)

    def __setitem__(self, key, value):
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return Thing

    def persistent_load(self, pid):
        return Thing(pid)


def judge(stream, options):
    """Whether the C unpickler takes it, and the name of what it raises."""
    options = dict(options)
    if "buffers" in options:
        options["buffers"] = [bytearray(b) for b in options["buffers"]]
    mine = [code for code in range(1, 256) if code not in copyreg._inverted_registry]
    for code in mine:
        copyreg._inverted_registry[code] = ("any", "thing")
    try:
        Unpickler(io.BytesIO(stream), **options).load()
        return True, None
    except Exception as error:
        return False, type(error).__name__
    finally:
        for code in mine:
            del copyreg._inverted_registry[code]
        copyreg._extension_cache.clear()


class Recorder:
    """Stands in for pickle.loads and pickle.dumps."""

    def __init__(self):
        self.found = {}
        self.loads, self.dumps = pickle.loads, pickle.dumps

    def add(self, stream, options=()):
        if len(stream) <= LONGEST:
            key = (bytes(stream), tuple(sorted(dict(options).items())))
            self.found.setdefault(key, None)

    def record_loads(self, stream, **options):
        known = {k: v for k, v in options.items() if k in ("encoding", "errors", "fix_imports")}
        try:
            if options.get("buffers") is not None:
                options["buffers"] = list(options["buffers"])
                known["buffers"] = tuple(bytes(memoryview(b).cast("B")) for b in options["buffers"])
            self.add(bytes(memoryview(stream)), known)
        except Exception:  # not even bytes: the test is about that
            pass
        return self.loads(stream, **options)

    def record_dumps(self, *args, **options):
        stream = self.dumps(*args, **options)
        if options.get("buffer_callback") is None:
            self.add(stream)
        return stream


def literals(module):
    """Every bytes value that the source of a module has as constants, also put together of them."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, (ast.Constant, ast.BinOp)) or type(node).__name__ == "Bytes":
            names = [n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Call, ast.Attribute))]
            sizes = [n.value for n in ast.walk(node) if isinstance(getattr(n, "value", None), int)]
            if names or any(size > 1 << 16 for size in sizes):
                continue
            try:
                value = eval(compile(ast.Expression(node), "literal", "eval"))
            except Exception:
                continue
            if isinstance(value, bytes):
                yield value


def attributes(thing, depth=0):
    """Bytes among the attributes of a module and of its classes."""
    for value in list(vars(thing).values()):
        if isinstance(value, (bytes, bytearray)):
            yield bytes(value)
        elif inspect.isclass(value) and depth == 0:
            yield from attributes(value, 1)


def run_tests(module, recorder):
    """Runs the abstract tests on recording functions. Whether they pass is not the question."""
    members = {
        "dumps": lambda self, arg, proto=None, **options: recorder.record_dumps(arg, proto, **options),
        "loads": lambda self, stream, **options: recorder.record_loads(stream, **options),
        "pickler": pickle.Pickler, "unpickler": pickle.Unpickler, "pickler_class": pickle.Pickler,
        "unpickler_class": pickle.Unpickler,
        "optimized": False, "py_version": sys.version_info, "test_xpickle": None,
        "bad_stack_errors": (pickle.UnpicklingError, IndexError),
        "truncated_errors": (pickle.UnpicklingError, EOFError, AttributeError, ValueError,
                             struct.error, IndexError, ImportError),
        "truncated_data_error": (Exception, ""), "size_overflow_error": (Exception, ""),
    }  # fmt: skip
    for name in ("AbstractUnpickleTests", "AbstractPickleTests", "AbstractPickleModuleTests",
                 "AbstractIdentityPersistentPicklerTests", "AbstractPicklingErrorTests"):  # fmt: skip
        base = getattr(module, name, None)
        if base is None:
            continue
        case = type(name, (base, unittest.TestCase), members)
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            if "recursion" in test.id() or "bigmem" in test.id() or "evil" in test.id():
                continue
            test.run(unittest.TestResult())


def main():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    recorder = Recorder()
    out, sys.stdout = sys.stdout, io.StringIO()
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for stream in literals(module):
            recorder.add(stream)
        for stream in attributes(module):
            recorder.add(stream)
        if name == "test.pickletester":
            pickle.loads, pickle.dumps = recorder.record_loads, recorder.record_dumps
            run_tests(module, recorder)
            pickle.loads, pickle.dumps = recorder.loads, recorder.dumps
    sys.stdout = out
    for stream, options in recorder.found:
        accepted, error = judge(stream, options)
        shown = {k: [base64.b64encode(b).decode() for b in v] if k == "buffers" else v for k, v in options}
        print(json.dumps({
            "stream": base64.b64encode(stream).decode(), "options": shown,
            "accepted": accepted, "error": error,
        }))  # fmt: skip


if __name__ == "__main__":
    main()
