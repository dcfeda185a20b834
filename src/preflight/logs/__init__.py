"""Log bytes to known errors, in bounded memory. Opens no logs; touches only its own cache file."""
