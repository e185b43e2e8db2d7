"""Sessions of ONNX Runtime and the one pipeline from windows to logits and taps."""
