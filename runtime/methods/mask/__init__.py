"""L-MAC: the decoder's mask over the listenable STFT."""
