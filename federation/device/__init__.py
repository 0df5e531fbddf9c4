"""Everything that runs on a shopper's device: history, profile, lists, and its part in private sums."""
