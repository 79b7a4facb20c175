"""Image tokenizers: token grids to pixels."""
