"""Finding the best items for a vector: indexes, filters, selections, the order of a list."""
