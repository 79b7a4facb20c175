"""The wire: messages, frames, sockets and keys."""
