"""Class labels in whatever form a training set has them, counted class by class, without importing torch."""
