"""One small class for each resource of the API."""
