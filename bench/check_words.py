"""`.ci/check_words.py`, under the name that it had; to be removed once nothing calls it here."""

import runpy

runpy.run_path(".ci/check_words.py", run_name="__main__")
