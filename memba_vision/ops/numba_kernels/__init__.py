"""Kernels that numba compiles on the user's machine. They are imported at their first use."""
