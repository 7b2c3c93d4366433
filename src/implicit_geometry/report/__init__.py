"""Reports on finished runs: figures, tables and one page; they read data frames and arrays and compute no theory."""
