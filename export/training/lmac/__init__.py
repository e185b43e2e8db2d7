"""The L-MAC recipe."""
