"""Losses that networks lower: on sums over blocks, on images, on contents."""
