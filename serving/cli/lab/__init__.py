"""The analysts' commands: ingest, train, evaluate, tune, validate, replay, off-policy."""
