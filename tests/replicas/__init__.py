"""Several replicas of the service behind a real nginx."""
