"""How well detections agree with the true events of recordings."""
