"""The records of the sandbox."""
