"""Getting VTAB-1k, unpacking it, checking every file of it, and building a task like it."""
