"""Token stores: where a token set is kept."""
