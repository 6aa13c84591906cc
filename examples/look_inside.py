"""Looks into a pickle without running it: what it names, what it holds, and whether to load it."""

import datetime
import pickle

from pannier import ForbiddenGlobal, codec

data = pickle.dumps({"when": datetime.date(2026, 11, 22), "levels": [1, 2.5, None]})
document = codec.decode(data)
print(document.to_python())
print([f"{use.module}.{use.name}" for use in codec.globals(data)])
print(codec.loads(data))  # dates are data: they are in the safe set

try:
    codec.loads(b"cos\nsystem\n(S'echo gotcha'\ntR.")
except ForbiddenGlobal as error:
    print(error.module, error.name, error.offset)
