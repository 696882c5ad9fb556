"""From one grid to another: interpolated, averaged, or conserved."""
