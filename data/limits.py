"""Bounds that every part of the project shares. Imports nothing."""

MAX_ID_CHARS = 128
"""Longest item_id: what logs, bundles, and the service's addresses can carry."""
