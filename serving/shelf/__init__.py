"""Bundles made ready to answer, and what keeps them up to date."""
