"""From source files to the stream store."""
