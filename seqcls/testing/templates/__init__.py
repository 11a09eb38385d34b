"""Packages that `seqcls new` writes: files with $-placeholders, a folder a kind of plugin."""
