"""What all workers of a service share in one database: keys, items, bundles, counts, tokens."""
