"""Blind tokens at the service: it signs them unseen for its shops, and takes each once."""
