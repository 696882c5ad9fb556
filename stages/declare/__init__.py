"""Parts of the configuration that several stages share."""
