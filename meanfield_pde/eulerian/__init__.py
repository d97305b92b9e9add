"""The density solver."""
