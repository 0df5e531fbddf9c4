"""The page of a replay and its pictures."""
