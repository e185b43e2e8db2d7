"""One graph of a whole bundle: waveform in, scores, mask and kept sound out, for any onnxruntime."""
