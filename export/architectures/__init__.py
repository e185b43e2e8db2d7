"""Networks: classifiers and decoders."""
