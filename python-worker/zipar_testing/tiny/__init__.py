"""Writes checkpoints with random weights, in the official formats, for tests and benchmarks; see `__main__.py`."""
