"""The service's side of live rounds and experiment windows: it sees shares and sums, never a report."""
