"""Writes tools.txt: what Python 3.11's pickletools and unpickler make of streams.

    python3.11 make_tools.py

takes the vectors of pickles.txt, the streams below, and damaged copies of both. A line: the
stream (base64, or @NAME of pickles.txt), then what was found of it, in this order:

- dis: ok or bad, length and 64-bit FNV-1a hash of the text, up to the error if it is bad;
- optimize: ok, length and hash, or bad;
- globals: ok or bad, and for each lookup OFFSET|MODULE|NAME, where an extension code N is
  "extension|N".
"""

import base64
import copyreg
import io
import os
import pickle
import pickletools
import random

HERE = os.path.dirname(os.path.abspath(__file__))

STREAMS = [
    b"cos\nsystem\n(S'echo'\ntR.",
    b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94h\x00h\x01\x93.",
    b"\x80\x04\x8c\x07pathlib\x8c\tos.system\x93\x8c\x02id\x85R.",
    b"(S'x'\niposix\nsystem\n.",
    b"(cposix\nsystem\nS'x'\no.",
    b"\x82\x01.", b"\x83\x02\x01.", b"\x84\x03\x00\x01\x00.",
    b"\x8c\x08builtins\x94\x8c\x04evil\x94p1\n0p0\n0g1\ng0\n\x93.",
    b"(\x8c\x02osq\x05\x8c\x06systemq\x06h\x05h\x06\x93t.",
    b"c__builtin__\neval\n.", b"\x80\x02c__builtin__\nxrange\n.", b"\x80\x03c__builtin__\nxrange\n.",
    b"S'os'\nS'system'\n\x93.", b"Vos\nVsystem\n\x93.", b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
    b"\x80\x04\x8c\x02os2\x93.", b"cos\nsystem\n0cos\nsystem\n.", b"cos\nsystem\n)R}(S'a'\ncos\nexit\nub.",
    b"N0.", b"(0N.", b"(N1N.", b"N2.", b"((N.", b"(2N.", b"(20.", b"(t.", b"t.", b"0.", b"N.", b".",
    b"Nq\x00q\x00.", b"(q\x00.", b"q\x00.", b"h\x00.", b"Nq\x00h\x01.", b"N\x94\x940.", b"Ng00\n.",
    b"Np00\ng0\n\x85.", b"Np01\ng1\n\x85.", b"Np5\ng5\n\x85.", b"Nq\x05q\x06h\x06h\x05\x87.",
    b"N\x94q\x07\x94h\x07\x85.", b"Nr\x00\x01\x00\x00j\x00\x01\x00\x00\x85.", b"I1\n.", b"I01\n.",
    b"I0x1\n.", b"I 12 \n.", b"I1_0\n.", b"L12L\n.", b"L12\n.", b"LL\n.", b"F1.5\n.", b"F 1_0.5\n.",
    b"F1e999\n.", b"Finf\n.", b"Fx\n.", b"S'a\\n\\x41\\''\n.", b"S\"it's\"\n.", b"S'\n.", b"Sabc\n.",
    b"S'\xff'\n.", b"S'\\xff'\n.", b"V\\u20ac\\n\n.", b"V\xe9\x85\xad\n.", b"V\\ud800\n.", b"V\\U0010ffff\n.",
    b"V\\u12\n.", b"U\x03\xe9'\".", b"T\x02\x00\x00\x00ab.", b"T\xff\xff\xff\xffab.", b"C\x03'\"\\.",
    b"C\x02'\xff.", b"\x96\x02\x00\x00\x00\x00\x00\x00\x00'\x00.", b"\x96\x01\x00\x00\x00\x00\x00\x00\x00\".",
    b"\x8c\x08\xe2\x80\xa8\xf0\x9f\x98\x80x.", b"\x8c\x03\xed\xa0\x80.", b"\x8c\x02\xc0\x80.",
    b"\x8a\x00.", b"\x8a\x02\xff\xff.", b"\x8b\x01\x00\x00\x00\x80.", b"\x8a\xff" + b"\x7f" * 255 + b".",
    b"\x8b\x00\x08\x00\x00" + b"\x7f" * 2048 + b".", b"G?\xf8\x00\x00\x00\x00\x00\x00.",
    b"J\xff\xff\xff\xff.", b"M\xff\xff.", b"P id\\n\n.", b"P\xff\n.", b"Pid\n.", b"K\x01Q.",
    b"c\xff\nx\n.", b"ca\\x41\nb c\n.", b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00K\x01.",
    b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", b"\x80\x05\x97\x98.", b"\x80\x06N.", b"N\x80\x04.",
    b"\x80\x02N\x80\x04q\x00h\x00\x86.", b"\xff.", b"", b"N", b"K", b"]q\x00(K\x01K\x02e.trailing",
    b"](]q\x01h\x01]q\x02]q\x03h\x03h\x01e.", b"(lp0\n(lp1\nag1\na.", b"\x8f(K\x01\x90.", b"(K\x01\x91.",
]  # fmt: skip


def pieces_beyond_a_frame():
    items = ["a" * size for size in (65535, 65536, 65537, 200000)]
    yield pickle.dumps([items, items[0]], 4)
    yield pickle.dumps(["item %d" % i for i in range(9000)] * 2, 4)
    yield pickle.dumps([[i] for i in range(700)] * 2, 2)
    yield pickle.dumps([[i] for i in range(300)] * 2, 0)


class Dummy:
    """Stands for whatever was looked up, and takes whatever is done to it."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args):
        return Dummy()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    extend = add = append


class Watcher(pickle.Unpickler):
    def __init__(self, stream):
        super().__init__(io.BytesIO(stream), encoding="latin1", buffers=[bytearray()] * 100)
        self.seen = []

    def find_class(self, module, name):
        self.seen.append((module, name))
        return Dummy

    def persistent_load(self, pid):
        return Dummy()


LOOKUPS = ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")


def find_globals(stream):
    watcher = Watcher(stream)
    try:
        watcher.load()
        state = "ok"
    except Exception:
        state = "bad"
    offsets = []
    try:
        for opcode, _, position in pickletools.genops(stream):
            if opcode.name in LOOKUPS:
                offsets.append(position)
    except Exception:
        pass
    if len(offsets) < len(watcher.seen):
        return None  # pickletools stops where the unpickler does not
    found = ["%d|%s|%s" % (offset, *names) for offset, names in zip(offsets, watcher.seen)]
    return " ".join([state, ",".join(found) or "-"])


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def find_dis(stream):
    out = io.StringIO()
    try:
        pickletools.dis(stream, out)
        state = "ok"
    except Exception:
        state = "bad"
    text = out.getvalue()
    # An error inside an argument leaves the offset of a line that is not finished.
    text = text[: text.rfind("\n") + 1].encode("utf-8")
    return "%s %d %016x" % (state, len(text), fnv(text))


def find_optimize(stream):
    try:
        made = pickletools.optimize(stream)
    except Exception:
        return "bad 0 0"
    if b"gNone\n" in made:  # of an entry that was never written
        return "bad 0 0"
    return "ok %d %016x" % (len(made), fnv(made))


def damaged(stream, chance):
    data = bytearray(stream)
    for _ in range(chance.randrange(1, 4)):
        where = chance.randrange(len(data))
        what = chance.randrange(3)
        if what == 0:
            data[where] = chance.choice(b"(.0129aeqhtubR\x93\x94\x85\x86\x8c")
        elif what == 1:
            del data[where : where + chance.randrange(1, 4)]
        else:
            data[where:where] = chance.choice((b"(", b"0", b"2", b"N", b"\x94", b"q\x01", b"h\x01", b"\x93"))
        if not data:
            break
    return bytes(data)


def main():
    for code in (1, 258, 65539):
        copyreg.add_extension("extension", str(code), code)
    inputs = [(base64.b64encode(stream).decode() or "-", stream) for stream in STREAMS]
    small = list(STREAMS)
    with open(os.path.join(HERE, "pickles.txt")) as file:
        for line in file:
            words = line.split()
            stream = base64.b64decode(words[1])
            inputs.append(("@" + words[0], stream))
            if len(stream) < 200 and not words[0].startswith("floats"):
                small.append(stream)
    chance = random.Random(7)
    for _ in range(600):
        stream = damaged(chance.choice(small) or b"N.", chance)
        inputs.append((base64.b64encode(stream).decode() or "-", stream))
    for number, stream in enumerate(pieces_beyond_a_frame()):
        inputs.append(("#%d" % number, stream))
    with open(os.path.join(HERE, "tools.txt"), "w") as file:
        for shown, stream in inputs:
            found = find_globals(stream)
            if found is None or any(c in found for c in "\n\r\t\0") or not found.isascii() or found.count(" ") != 1:
                found = "odd -"
            print(shown, find_dis(stream), find_optimize(stream), found, file=file)


if __name__ == "__main__":
    main()
