"""Cubes made harder, and what fields made on them are worth."""
