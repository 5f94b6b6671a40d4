"""How good a retriever is in the three settings, and how evenly it treats languages."""
