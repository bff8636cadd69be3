"""The `ezeep` command."""
