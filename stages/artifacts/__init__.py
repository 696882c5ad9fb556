"""One file an artifact: the only contract between stages."""
