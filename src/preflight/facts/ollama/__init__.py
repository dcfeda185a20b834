"""Ollama: its settings, its API, and the configured model."""
