"""Listings, read page by page."""
