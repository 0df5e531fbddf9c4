"""Tests mirror the four packages; beside them architecture, privacy, docs, benchmarks."""
