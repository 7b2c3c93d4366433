"""Ridges at which the optimum loses directions: within groups of equal classes, and between their means."""
