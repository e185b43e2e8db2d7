"""PANNs' checkpoints: Cnn6, Cnn10, Cnn14 and MobileNetV1 over torchlibrosa's log-mel."""
