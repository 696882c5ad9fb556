"""Cube and checkpoint in, field out."""
