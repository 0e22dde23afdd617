"""How fast it is: paired timings against peers and floors, for ``tools/benchmark.py``.

It is no part of the package, and it needs nothing that is not installed: a missing peer is a line in
the table.
"""
