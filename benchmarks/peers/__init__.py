"""Other packages beside `meanfield_pde`, on the same problems: ``python -m benchmarks.peers``."""
