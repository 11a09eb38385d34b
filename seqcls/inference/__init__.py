"""A trained model in use: the classifier, explanations, and classifiers that need no PyTorch (portable/)."""
