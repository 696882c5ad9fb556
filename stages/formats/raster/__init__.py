"""GeoTIFF and what else GDAL reads."""
