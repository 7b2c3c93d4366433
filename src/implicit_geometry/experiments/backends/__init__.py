"""Where many runs happen: processes on this machine, or a Ray cluster."""
