"""What may be shown of an experiment's sums: figures and verdicts, the power that is left, a Bayesian reading."""
