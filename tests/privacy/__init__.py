"""Tests of what may leak."""
