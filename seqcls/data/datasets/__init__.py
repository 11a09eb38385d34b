"""Data sets, named sources of labelled sequences, and the readers of their files.

Each data set is one module that keeps the contract in base.py. What happens to splits afterwards is in data/.
"""
