"""How fast it is: paired timings against peers and floors, for ``tools/benchmark.py``.

Nothing else in the package imports this part, and it needs nothing that is not installed: a peer
that is missing is a line in the table.
"""
