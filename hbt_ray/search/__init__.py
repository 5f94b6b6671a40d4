"""Vectors to ranked documents: exact search, FAISS indexes, recall and hard negatives."""
