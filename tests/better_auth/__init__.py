"""A real Better Auth front end signs users in, proved end to end."""
