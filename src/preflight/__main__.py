"""`python -m preflight` is the same program as `preflight`."""

import os
import sys


def _leave_current_folder() -> None:
    """Take the current folder off the module path: its `yaml.py` isn't the one we mean."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        here = os.getcwd()
    except OSError:
        return  # it was removed under us
    if sys.path and sys.path[0] == here != ours:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_folder()
    from preflight.cli import main

    main()
