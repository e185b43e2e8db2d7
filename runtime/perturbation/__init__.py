"""Asking a model about changed versions of a sound: masks, fills, surrogates, and what to ask next."""
