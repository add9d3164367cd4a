"""The paths, methods and status codes."""
