"""What drives: energies of measures with their first variations."""
