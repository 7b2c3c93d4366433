"""Hundreds of kinds of classes and more: coarse problems, and the way from their optima to that of the whole."""
