"""How far masks are to be believed: a calibrated probability, fitted to recordings that were held out."""
