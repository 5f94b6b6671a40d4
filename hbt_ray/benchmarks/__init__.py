"""Our speed beside a peer's: one benchmark a file, whose `measure` returns our figures, theirs and the ratios."""
