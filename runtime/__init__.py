"""Explains with a bundle, without PyTorch."""
