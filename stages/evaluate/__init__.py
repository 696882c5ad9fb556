"""Finished maps in, scores out; the only reader of the truth."""
