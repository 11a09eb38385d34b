"""Embeddings: what a sequence is made of in, token ids or feature vectors; one vector a step out. One file an embedding."""
