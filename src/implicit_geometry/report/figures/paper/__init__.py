"""The paper's figures, one module for each: theory as lines, the trained models on top."""
