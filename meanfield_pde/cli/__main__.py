"""The command line, as ``python -m meanfield_pde.cli``."""

from meanfield_pde.cli import main

if __name__ == "__main__":
    main()
