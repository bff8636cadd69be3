"""The plan: the difference between the desired state and the organization."""
