"""Learning U: channels disentangled without changing a prediction (APEX, on EPIC's core)."""
