"""A first configuration drafted from a folder of files, with questions."""
