"""The data that flows through the program: frozen, standard library only, no I/O."""
