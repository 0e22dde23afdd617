"""Kernels that Triton compiles for the GPU at hand; imported at the first use, never before."""
