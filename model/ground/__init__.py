"""Where numbers are and what they mean: grids, blocks, windows, units, and errors told in four parts."""
