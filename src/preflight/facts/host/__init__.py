"""The machine that this process runs on: memory, CPU, disk, limits."""
