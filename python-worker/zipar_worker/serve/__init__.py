"""Conversations with an SDK: the server and what watches over it."""
