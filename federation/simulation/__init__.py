"""Federated training over simulated devices of a log: the same maths as live, without the wire."""
