"""Forwards: layout, K/V cache, attention, sampling. Knows no schedule, and of a family its description alone."""
