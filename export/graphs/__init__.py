"""From PyTorch modules or numbers to the ONNX graphs of a bundle."""
