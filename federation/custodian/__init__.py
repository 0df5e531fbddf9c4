"""The second party of every private sum: it signs tasks, keeps round keys, adds its half and its noise."""
