"""Specs, training, runs and the store that keeps their records; knows nothing of figures."""
