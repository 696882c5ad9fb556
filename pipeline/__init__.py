"""Decides what runs; opens no raster."""
