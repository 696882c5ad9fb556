"""GeoPackage, Shapefile, GeoJSON and OSM extracts."""
