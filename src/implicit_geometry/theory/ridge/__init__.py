"""The optimum at a positive ridge: ``plain``, ``biased`` heads, ``smoothed`` labels, ``nonnegative`` embeddings."""
