"""The deterministic stub model."""
