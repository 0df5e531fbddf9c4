"""What an analyst runs on a log: recipes, comparison, cross-validation, tuning, replay, rehearsal."""
