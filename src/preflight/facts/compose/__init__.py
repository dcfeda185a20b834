"""The compose project: which files, its effective configuration, and the facts that follow."""
