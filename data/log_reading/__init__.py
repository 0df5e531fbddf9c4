"""Reading a log: from any file that a shop exports to checked, numbered, sorted events, every row accounted for."""
