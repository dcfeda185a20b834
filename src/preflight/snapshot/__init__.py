"""Facts on disk: written so that they replay, read as the untrusted input that they are."""
