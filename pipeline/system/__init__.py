"""What the machine offers and asks: memory, disk, signals, the log."""
