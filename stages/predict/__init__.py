"""A trained method applied window by window."""
