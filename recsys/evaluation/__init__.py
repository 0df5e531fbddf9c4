"""How good a model is: metrics, arms, baselines, statistics, hold-outs."""
