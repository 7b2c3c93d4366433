"""Sweeps as people write them, with every mistake in a file named at once."""
