"""Specs, training, trials and the store that keeps their records; knows nothing of figures."""
