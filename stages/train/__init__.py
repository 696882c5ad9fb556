"""Cube and tiles in, checkpoint out."""
