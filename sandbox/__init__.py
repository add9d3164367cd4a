"""A complete local stack, to try the service with nothing else installed."""
