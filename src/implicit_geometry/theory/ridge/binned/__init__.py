"""Thousands of kinds of classes: the optimum of bins of them, and what it proves of the whole problem."""
