"""Writes hooks.txt: what CPython's pickler writes with its hooks set.

A line is a vector: its name, and the stream in base64. The classes are named as if they were of
a module `shop`, which hooks of tests/codec/pickler_hooks_test.cc know too.

    python make_hooks.py > hooks.txt
"""

import base64
import copyreg
import io
import pickle
import sys
import types

shop = types.ModuleType("shop")
sys.modules["shop"] = shop
exec(
    """
class Record:
    def __init__(self, key):
        self.key = key

class Cart:
    pass

class Outer:
    class Inner:
        pass

EMPTY = Cart()

def make(*args):
    return Cart()

def set_state(obj, state):
    obj.__dict__.update(state)
""",
    shop.__dict__,
)


def write(name, data):
    print(name, base64.b64encode(data).decode())


class Database(pickle.Pickler):
    """The manual's DBPickler."""

    def persistent_id(self, obj):
        if isinstance(obj, shop.Record):
            return ("Record", obj.key) if self.tuples else str(obj.key)
        return None


class Override(pickle.Pickler):
    def reducer_override(self, obj):
        return self.reduce(obj) if isinstance(obj, shop.Cart) else NotImplemented


def reductions():
    make, set_state = shop.make, shop.set_state
    yield "two", lambda o: (make, (1, "a"))
    yield "state", lambda o: (make, (), {"x": 1})
    yield "items", lambda o: (make, (), None, iter([1, 2]))
    yield "entries", lambda o: (make, (), {"x": 1}, iter([1]), iter([("k", 2)]))
    yield "setter", lambda o: (make, (), {"x": 1}, None, None, set_state)
    yield "many", lambda o: (make, (), None, iter(range(1001)), iter((i, i) for i in range(1001)))
    yield "newobj", lambda o: (copyreg.__newobj__, (shop.Cart, 5), {"x": 1})
    yield "newobj_ex", lambda o: (copyreg.__newobj_ex__, (shop.Cart, (5,), {"k": 1}))
    yield "global", lambda o: "EMPTY"


def main():
    for protocol in range(6):
        out = io.BytesIO()
        pickler = Database(out, protocol)
        pickler.tuples = protocol > 0
        one, two = shop.Record(1), shop.Record(2)
        pickler.dump([one, "text", two, one, (two,)])
        write(f"persistent_{protocol}", out.getvalue())

        for name, reduce in reductions():
            if name == "newobj_ex" and protocol in (2, 3):
                continue  # functools.partial stands in for it there
            out = io.BytesIO()
            pickler = Override(out, protocol)
            pickler.reduce = reduce
            cart = shop.EMPTY if name == "global" else shop.Cart()
            pickler.dump([cart, cart])
            write(f"reduce_{name}_{protocol}", out.getvalue())

        out = io.BytesIO()
        pickler = pickle.Pickler(out, protocol)
        pickler.dispatch_table = {shop.Cart: lambda o: (shop.make, (7,))}
        pickler.dump([shop.Cart(), shop.Cart])
        write(f"dispatch_{protocol}", out.getvalue())

        for code in (7, 300, 70000):
            copyreg.add_extension("shop", "Cart", code)
            write(f"extension_{code}_{protocol}", pickle.dumps([shop.Cart, shop.Cart], protocol))
            copyreg.remove_extension("shop", "Cart", code)

        out = io.BytesIO()
        pickler = pickle.Pickler(out, protocol)
        shared = [1]
        pickler.dump([shared, shared])
        pickler.dump(shared)
        pickler.clear_memo()
        pickler.dump(shared)
        write(f"many_{protocol}", out.getvalue())

        out = io.BytesIO()
        pickler = pickle.Pickler(out, protocol)
        pickler.fast = True
        pickler.dump([shared, shared, ("a", "a")])
        write(f"fast_{protocol}", out.getvalue())


main()
