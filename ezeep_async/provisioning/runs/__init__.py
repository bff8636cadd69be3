"""Applying a plan, and reverting a run."""
