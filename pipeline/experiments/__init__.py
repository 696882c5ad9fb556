"""Comparisons of methods and harder questions, made of the same stages."""
