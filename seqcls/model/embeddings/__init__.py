"""Embeddings: token ids or feature vectors in, one vector per step out. One file per embedding."""
