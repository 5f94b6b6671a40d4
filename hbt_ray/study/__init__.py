"""Several runs side by side: the grid and the report."""
