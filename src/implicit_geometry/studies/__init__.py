"""What this project itself asks of networks: the demo, the paper's figures, and which loss generalises best."""
