"""Placements: named surfaces of a shop with saved settings, and the lists that need no history."""
