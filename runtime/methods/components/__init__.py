"""L2I: the evidence as components of a learnt dictionary."""
