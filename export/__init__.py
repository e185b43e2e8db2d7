"""The PyTorch side: sources, architectures, training, conversion, and writing bundles."""
