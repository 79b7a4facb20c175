"""The worker of zipar: executes transformer forwards for a schedule that lives in TypeScript, and decides nothing."""

__version__ = "0.1.0"
