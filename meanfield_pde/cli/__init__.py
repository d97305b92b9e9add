"""The command line ``meanfield-pde``: its commands, what they print and write, its exit codes."""

from meanfield_pde.cli import commands, studies  # noqa: F401  they register themselves
from meanfield_pde.cli.arguments import app
from meanfield_pde.cli.commands import main

__all__ = ["app", "main"]
