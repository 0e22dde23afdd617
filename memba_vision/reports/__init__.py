"""Reports of many runs: collected, averaged, drawn and written in four formats."""
