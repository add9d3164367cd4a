"""The benchmark: the service compared with the same endpoints written in other ways."""
