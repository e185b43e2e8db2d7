"""Whether a mask keeps what the classifier's decision depends on."""
