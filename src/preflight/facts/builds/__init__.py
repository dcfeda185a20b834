"""What `docker compose build` needs from this machine: Dockerfiles, their stages and sources."""
