"""ONNX graphs as differentiable PyTorch modules: one file per family of operators."""
