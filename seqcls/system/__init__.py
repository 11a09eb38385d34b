"""The machine: files, paths, untrusted input, archives, downloads, devices, memory, random state, processes.

Nothing here knows what a data set or a model is.
"""
