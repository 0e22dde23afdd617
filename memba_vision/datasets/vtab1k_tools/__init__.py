"""Download, unpack and check VTAB-1k, and build tasks in its format."""
