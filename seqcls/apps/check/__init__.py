"""What is wrong with a data set: duplicates, conflicting labels, leaks, damaged texts, imbalance."""
