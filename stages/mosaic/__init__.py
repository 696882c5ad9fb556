"""Cube and field in, maps out."""
