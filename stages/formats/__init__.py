"""The only package that knows file formats."""
