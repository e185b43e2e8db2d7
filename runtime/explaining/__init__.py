"""From what a user asks about a sound to its result: request, classification, methods."""
