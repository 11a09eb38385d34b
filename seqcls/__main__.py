"""`python -m seqcls`: the command line."""

from seqcls.apps.cli.app import main

if __name__ == "__main__":
    main()
