"""The wire: messages, frames, sockets and keys. Knows neither models nor torch."""
