"""What a request needs: settings, a database, who is asking."""
