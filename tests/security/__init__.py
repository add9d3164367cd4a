"""Attacks on the whole service: on ownership, on its input, on its connections."""
