"""Runs the probes under one deadline."""
