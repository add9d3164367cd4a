"""Tools that know nothing of routes or tables."""
