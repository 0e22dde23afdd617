# Linear probing: the head alone.
adapters = []
