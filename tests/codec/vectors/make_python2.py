"""Writes python2.txt: streams as Python 2 pickled them.

    python2.7 make_python2.py > python2.txt

A line: the name of a value, pickle or cPickle, the protocol, the stream in base64.
"""

import array
import base64
import collections
import cPickle
import datetime
import decimal
import fractions
import pickle
import sys
import uuid


class Classic:
    def __init__(self):
        self.text = "8 bit \xe9"
        self.unicode = u"\xfc"


class ClassicWithArguments:
    def __init__(self, *args):
        self.args = args

    def __getinitargs__(self):
        return self.args


class New(object):
    def __init__(self):
        self.a = "a"


class Slots(object):
    __slots__ = ("x",)

    def __getstate__(self):
        return None, {"x": self.x}


class MyInt(int):
    pass


class MyDict(dict):
    pass


def slots():
    made = Slots()
    made.x = 3
    return made


def shared():
    text = "shared" * 2
    inner = [text, text, u"u"]
    return [inner, inner, {text: inner}, (inner,)]


def cycle():
    made = []
    made.append((made, {"self": made}))
    return made


VALUES = [
    ("ascii", "plain text"),
    ("empty", ""),
    ("quotes", "it's \"quoted\" \\ and \n\t\r\0"),
    ("latin1", "caf\xe9"),
    ("utf8", u"\u20ac".encode("utf-8")),
    ("binary", "".join(map(chr, range(256)))),
    ("long_text", "x" * 300),
    ("long_binary", "\xff" * 300),
    ("unicode", u"caf\xe9 \u20ac \\u0041 \n"),
    ("astral", u"\U0001f600"),
    ("surrogate", u"\ud800"),
    ("none_and_bools", [None, True, False]),
    ("ints", [0, 1, -1, 255, 256, 65535, 65536, 2 ** 31 - 1, -(2 ** 31)]),
    ("large_ints", [2 ** 31, 2 ** 62, -(2 ** 63), sys.maxint]),
    ("longs", [0 * 2 ** 70, long(0), long(1), long(-1), 2 ** 63, -(2 ** 63), 2 ** 100, -(2 ** 100), 2 ** 2100]),
    ("floats", [0.0, -0.0, 1.5, 1e300, 1e-300, 0.1]),
    ("complex", 1.5 - 2j),
    ("tuples", [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]),
    ("dict", {"a": 1, u"b": 2, 3: "c", (4, "d"): None}),
    ("lists", [list(range(n)) for n in (0, 1, 2, 1001)]),
    ("sets", [set([1, 2]), frozenset([3]), set()]),
    ("shared", shared()),
    ("cycle", cycle()),
    ("classic", Classic()),
    ("classic_with_arguments", ClassicWithArguments(1, "two", u"three")),
    ("classic_shared", [Classic()] * 2),
    ("new", New()),
    ("slots", slots()),
    ("subclasses", [MyInt(3), MyDict(a=1)]),
    ("names", [int, str, unicode, long, xrange, len, map, basestring, collections.OrderedDict, Classic]),
    ("exceptions", [ValueError("x"), KeyError("k"), IOError(2, "no file"), StandardError("old")]),
    ("datetimes", [datetime.date(2001, 2, 3), datetime.datetime(2001, 2, 3, 4, 5, 6, 7),
                   datetime.time(1, 2), datetime.timedelta(1, 2, 3)]),
    ("decimal", decimal.Decimal("1.50")),
    ("fraction", fractions.Fraction(1, 3)),
    ("uuid", uuid.UUID(int=5)),
    ("array", array.array("i", [1, 2, 3])),
    ("collections", [collections.OrderedDict([("a", 1)]), collections.deque([1], 3),
                     collections.defaultdict(list, {"k": [1]}), collections.Counter("aab")]),
    ("xrange", [xrange(3)] if hasattr(xrange, "__reduce_ex__") else []),
    ("slice", [slice(1, 2, 3)]),
    ("bytearray", bytearray(b"ab\xff")),
]


def main():
    for name, value in VALUES:
        for module in (pickle, cPickle):
            for protocol in (0, 1, 2):
                try:
                    stream = module.dumps(value, protocol)
                except Exception:  # protocol 0 and 1 refuse some objects with slots, slices, ...
                    continue
                print("%s %s %d %s" % (name, module.__name__, protocol, base64.b64encode(stream)))


if __name__ == "__main__":
    main()
