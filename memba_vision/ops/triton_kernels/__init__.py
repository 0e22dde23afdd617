"""Kernels that Triton compiles for the user's GPU. They are imported at their first use."""
