"""`python -m app VERB`: see `python -m app --help`."""

import gc
import sys

gc.disable()  # see `app.cli.main`

from app.cli.main import main  # noqa: E402  # what is imported is not to be collected

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
