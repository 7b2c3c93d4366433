"""Independent numerical routes to what the theory predicts: none of its closed forms, certificates of their own."""
