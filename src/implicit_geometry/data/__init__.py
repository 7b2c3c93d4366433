"""Data sets, and imbalance profiles applied to them."""
