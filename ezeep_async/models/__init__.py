"""Records of the ezeep API, one file per resource."""
