"""Cross-entropy with per-class vectors: on logits, fused with a linear head, or folded into it."""
