"""Faults and load: what is away, cut off, killed or too slow, and an account of what is left."""
