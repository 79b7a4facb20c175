"""Forwards: batches, K/V cache, attention, sampling. Knows no model family."""
