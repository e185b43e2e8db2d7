"""The APEX recipe: learning U."""
