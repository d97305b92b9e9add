"""What moves: grids, densities, clouds, groups, and distances between measures."""
