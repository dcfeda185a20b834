"""The running containers of the compose project."""
