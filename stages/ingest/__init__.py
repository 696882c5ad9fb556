"""Source layers in, cube out."""
