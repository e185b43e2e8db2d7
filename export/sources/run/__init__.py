"""Source: a run directory of `earmark train`: its files, and what was trained, put to work on a source."""
