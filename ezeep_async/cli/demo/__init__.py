"""`ezeep demo` and `ezeep sandbox`."""
