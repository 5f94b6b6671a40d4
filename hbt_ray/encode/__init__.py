"""Documents and queries to vectors, each text exactly once."""
