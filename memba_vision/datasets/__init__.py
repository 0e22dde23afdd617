"""Datasets in VTAB-1k's folder format, and the small ones that are made on first use."""
