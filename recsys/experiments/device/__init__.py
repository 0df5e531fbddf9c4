"""What a device decides in an experiment: assignment, outcomes, interleaving. Pure functions."""
