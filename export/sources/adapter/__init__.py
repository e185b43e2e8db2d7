"""Any PyTorch module, described by an Adapter."""
