"""Sound: read, cut into windows, transformed, joined again and given back."""
