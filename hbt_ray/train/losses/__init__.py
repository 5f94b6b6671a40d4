"""Training objectives: one class a file, each exact over any number of ranks and chunks."""
