"""One benchmark a file: `measure` takes its settings and returns our figures, the peers' and their ratios."""
