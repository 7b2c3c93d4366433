"""What Behnia et al. (2023) print: formulas, tables and errata, independent of the engine that predicts."""
