"""A running server: settings, workers, TLS, checks before the start."""
