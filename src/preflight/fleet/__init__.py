"""Many hosts over Ansible: each measures itself, and its snapshot comes back to be judged here."""
