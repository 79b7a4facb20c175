"""Proves the worker on the device of whoever runs it: the same results as on the CPU, and what its forwards take."""
