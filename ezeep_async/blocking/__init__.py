"""Blocking calls on one background event loop."""
