"""`python -m preflight` is the same program as `preflight`."""

from preflight.cli import main

if __name__ == "__main__":
    main()
