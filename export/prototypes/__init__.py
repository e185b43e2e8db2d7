"""Building and growing the prototypes of a bundle."""
