"""The judge of the demo checkpoint: how many pictures a classifier recognises."""
