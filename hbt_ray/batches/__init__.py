"""Which pairs make which batch, and how they get to the ranks."""
