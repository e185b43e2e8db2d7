"""An .onnx file."""
