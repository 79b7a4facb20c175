"""The judge of the demo checkpoint: how many pictures a classifier recognises, and how near they are to drawn ones."""
