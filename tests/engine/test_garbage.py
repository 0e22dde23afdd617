"""What is imported is not looked through for garbage, and all else is."""

import json
import subprocess
import sys

CODE = """
import gc, json, sys, weakref
from memba_vision.engine.garbage import imports_kept_from_collection

class Ring:
    def __init__(self):
        self.itself = self

with imports_kept_from_collection():
    import decimal
    collects_inside = gc.isenabled()
frozen = gc.get_freeze_count()
ring = Ring()
garbage = weakref.ref(ring)
del ring
gc.collect()
with imports_kept_from_collection():
    left = Ring()
again = gc.get_freeze_count()
print(json.dumps([collects_inside, frozen > 1000, garbage() is None, again <= frozen]))
print(json.dumps(gc.isenabled()))
"""


def test_imports_are_kept_from_collection_and_garbage_is_not():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert json.loads(first) == [False, True, True, True]
    assert json.loads(second) is True
