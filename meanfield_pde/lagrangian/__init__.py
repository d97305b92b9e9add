"""The particle solver."""
