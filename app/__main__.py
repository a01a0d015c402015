"""`python -m app VERB`: see `python -m app --help`."""

import sys

from app.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
