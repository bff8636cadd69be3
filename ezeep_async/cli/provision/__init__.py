"""`ezeep provision`."""
