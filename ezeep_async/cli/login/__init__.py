"""`ezeep login`, `logout` and `whoami`."""
