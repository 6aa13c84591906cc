import sys

import numpy as np
import pannier

with pannier.Client(sys.argv[1] if sys.argv[1:] else "ipc:///tmp/calls.sock") as client:
    print(*client.scale(np.array([1, 2, 3], np.float32), 2.0))
