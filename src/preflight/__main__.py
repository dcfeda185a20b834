"""`python -m preflight` is the same program as `preflight`."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    # the current folder is taken off the module path: its `yaml.py` isn't the one we mean
    with suppress(OSError):  # the folder was deleted
        if (
            sys.path[0]
            == os.getcwd()
            != os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        ):
            del sys.path[0]
    from preflight.cli import run_and_exit

    run_and_exit()
