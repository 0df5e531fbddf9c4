"""The mix: which signal counts how much in a list, learned from what devices did next."""
