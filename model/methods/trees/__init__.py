"""Forests and boosted trees fitted to totals."""
