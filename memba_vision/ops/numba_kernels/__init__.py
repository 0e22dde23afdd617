"""Kernels that numba compiles on a user's machine; imported at the first use, never before."""
