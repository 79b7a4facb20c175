"""What tests and benchmarks need beside the worker; not part of the package."""
