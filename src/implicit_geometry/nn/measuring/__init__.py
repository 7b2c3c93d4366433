"""Measuring a network's geometry: in one pass, in two, and while it trains."""
