"""Features that cannot be negative: what both regimes share, and descent where no closed form is known."""
