"""The project's model of the world: arrays in, arrays out; no files, no prints."""
