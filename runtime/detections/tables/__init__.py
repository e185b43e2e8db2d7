"""Tables of detections in the formats that other tools open: one file a format, all in `formats.py`."""
