"""Whether an explanation points at the event."""
