"""Finds what is wrong with a data set: duplicates, conflicting labels, leaks, damaged texts, imbalance.

The command line prints the findings; nothing here changes data.
"""
