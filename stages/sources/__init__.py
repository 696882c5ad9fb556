"""What the user gave: declared, opened, placed on the grid, and told as layers of the cube."""
