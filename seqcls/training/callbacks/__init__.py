"""Hooks into the training loop: the contract, checkpointing, early stopping, the console, TensorBoard."""
