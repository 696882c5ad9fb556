"""NetCDF and Zarr by the CF conventions."""
