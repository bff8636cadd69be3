"""The desired state: what members each group should have, read from files and rows."""
