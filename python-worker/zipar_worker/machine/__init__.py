"""What this machine has and lets the worker use. Reads the system's files; never imports torch."""
