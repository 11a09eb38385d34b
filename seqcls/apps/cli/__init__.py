"""The command line: arguments in, calls out, words on the screen; nothing heavy is imported before a command runs."""
