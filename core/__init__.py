"""What the application is made of: settings, database, errors, logs, limits."""
