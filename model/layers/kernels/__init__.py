"""Loops that networks spend their time in, plain, compiled and fused."""
