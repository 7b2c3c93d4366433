"""The HTML page of finished runs."""
