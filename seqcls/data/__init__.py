"""From files to padded batches: data sets, splits, preprocessors, encoded sequences, the cache and batches.

The sources of data are in datasets/. Networks, and what is computed from their outputs, are in model/ and evaluation/.
"""
