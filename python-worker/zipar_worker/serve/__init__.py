"""The conversation with an SDK, the operations that it asks for, the watch over its parent. Imports no torch."""
