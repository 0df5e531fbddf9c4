"""From sums to a verdict: estimates, sequential intervals, corrections, words."""
