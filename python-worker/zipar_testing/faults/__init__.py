"""Workers that misbehave on purpose."""
