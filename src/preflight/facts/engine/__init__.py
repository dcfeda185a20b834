"""The container engine: where it is, whether it answers, what it reports."""
