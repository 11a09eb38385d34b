"""The command line: arguments in, calls out, words on the screen; nothing heavy is imported before a command runs."""

from seqcls.cli.app import app, main

__all__ = ["app", "main"]
