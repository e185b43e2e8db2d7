"""Writing a bundle: parity, golden outputs, card, manifest."""
