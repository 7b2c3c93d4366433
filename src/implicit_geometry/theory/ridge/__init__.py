"""The optimum at a positive ridge, for heads without a bias (``plain``) and with one (``biased``)."""
