"""Blind tokens: the right to report once, which cannot be tied to the request that fetched it."""
