"""Places where a login can be kept."""
