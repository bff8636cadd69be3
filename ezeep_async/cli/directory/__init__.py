"""`ezeep groups`, `users` and `export`."""
