"""The L2I recipe."""
