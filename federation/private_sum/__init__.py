"""Sums of vectors of 32-bit words that nobody can look into: a small library that knows nothing of recommenders."""
