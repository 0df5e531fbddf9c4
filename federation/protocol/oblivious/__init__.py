"""Oblivious HTTP: a relay sees who asks and not what, the service what and not who."""
