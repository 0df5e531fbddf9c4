"""A device in experiments: its arm, what it notes, what it reports."""
