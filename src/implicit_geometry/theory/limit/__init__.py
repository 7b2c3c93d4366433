"""The limit of vanishing ridge, for heads without a bias (``plain``) and with a free one (``biased``)."""
