"""Whole networks, put together from the parts beside this folder."""
