"""What the methods share of floating point: rounding, singular values, balanced flows."""
