"""Parts that networks are built from, one small file each."""
