"""Routes and JSON bodies, a file of each a resource: ask, items, bundles, experiments, federation, keys, dashboard."""
