"""The shipped artifacts: bundle, device catalogue and its deltas, clusters, items as they are now."""
