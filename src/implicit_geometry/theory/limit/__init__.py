"""The limit of vanishing ridge: ``plain``, ``biased`` heads, ``smoothed`` labels, ``nonnegative`` features."""
