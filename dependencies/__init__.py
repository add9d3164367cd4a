"""What a request needs: settings, a session, the caller, limits."""
