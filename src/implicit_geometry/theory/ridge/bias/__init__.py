"""Heads with a bias at a positive ridge."""
