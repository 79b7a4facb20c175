"""Decoding loops of others, timed beside ours by `npm run bench -- --against`. Nothing of them is part of zipar."""
