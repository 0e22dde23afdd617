"""Runs the Python blocks of a page one after another, with the names of those before.

Reads a line of JSON per block, ``[name, code]``, and answers with one: null, or the traceback.
"""

import contextlib
import json
import sys
import traceback

names = {'__name__': '__main__'}
for line in sys.stdin:
    name, code = json.loads(line)
    problem = None
    with contextlib.redirect_stdout(sys.stderr):
        try:
            exec(compile(code, name, 'exec'), names)
        except BaseException:
            problem = traceback.format_exc()
    sys.stdout.write(f'{json.dumps(problem)}\n')
    sys.stdout.flush()
