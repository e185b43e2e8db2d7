"""A bundle on disk: the manifest's types, and opening one from strangers."""
