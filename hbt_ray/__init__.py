"""Hybrid batch training of multilingual retrievers on Ray."""
