"""Features of a frozen backbone that are computed once, and kept for all epochs."""
