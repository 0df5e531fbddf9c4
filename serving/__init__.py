"""Who may ask: the HTTP service and the command line."""
