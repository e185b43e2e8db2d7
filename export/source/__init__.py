"""What can be exported: facts, stage graphs, and the reference to measure them by."""
