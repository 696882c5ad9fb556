"""What every stage body offers and may use: sections of the configuration, progress, execution."""
