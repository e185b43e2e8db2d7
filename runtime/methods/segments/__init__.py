"""Time-localised perturbation: which segments the scores depend on."""
