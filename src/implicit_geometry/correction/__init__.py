"""What to read off a trained network at test time: its logits, corrected for the loss and for a prior."""
