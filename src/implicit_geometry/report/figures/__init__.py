"""Figures: data frames and arrays in, Matplotlib figures out."""
