"""Log bytes to known errors: pure, in bounded memory, and never longer than the log is."""
