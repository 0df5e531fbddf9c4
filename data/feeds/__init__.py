"""Catalogue feeds: what shops publish of their goods for Google, Facebook, Heureka or a migration, as one table."""
