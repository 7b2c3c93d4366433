"""Geometry in closed form and by certified optimisation; NumPy and SciPy only."""
