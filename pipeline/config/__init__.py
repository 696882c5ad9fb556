"""YAML read into frozen models, with every mistake told at its line."""
