"""Networks, and how they are built and sized."""
