"""A question as a grid of cells: which there are, running them on Ray, and the answer with its report."""
