"""What a sound file holds by its own structure: chunks, frames, streams, tags."""
