"""How fast the service is, beside what else could be built from the same parts."""
