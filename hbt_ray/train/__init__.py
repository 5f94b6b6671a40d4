"""From the stream store to a model."""
