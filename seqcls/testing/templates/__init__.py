"""The packages that `seqcls new` writes: files with $-placeholders, one folder per kind of plugin."""
