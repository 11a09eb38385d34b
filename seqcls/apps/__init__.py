"""What people run: the command line, and what its larger verbs do (check, report, tune, serve).

Each is built on the library below, which imports none of them.
"""
