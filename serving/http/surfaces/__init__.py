"""Surfaces over HTTP: the shop's placements, and its own lists re-ordered."""
