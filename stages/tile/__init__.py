"""Cube in, tiles out."""
