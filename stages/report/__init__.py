"""What a map says of itself: certificate, page, pictures, styles."""
