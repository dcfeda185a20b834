"""Runs the probes in a process of their own, under one deadline."""
