"""Logging in, and staying logged in."""
