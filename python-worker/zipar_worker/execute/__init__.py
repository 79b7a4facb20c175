"""Forwards: layout, K/V cache, attention, sampling. Knows no schedule, and families only by `families/family.py`."""
