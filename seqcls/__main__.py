"""`python -m seqcls`: the command line."""

from seqcls.cli import main

if __name__ == "__main__":
    main()
