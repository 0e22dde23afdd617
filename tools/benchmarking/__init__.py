"""Paired timings against peers and floors, for ``tools/benchmark.py``.

This is no part of the package. A peer that is not installed is a line in the table.
"""
