"""`Result`, the pictures that show it, and what of it is stored."""
