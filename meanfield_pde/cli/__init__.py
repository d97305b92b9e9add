"""The command line ``meanfield-pde``: its commands, what they print and write, its exit codes."""

from meanfield_pde.cli.commands import app, main

__all__ = ["app", "main"]
