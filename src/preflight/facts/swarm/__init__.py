"""A Swarm as its manager tells it: its nodes, what is left on them, where tasks find places."""
