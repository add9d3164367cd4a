"""What the tests start and speak with: servers, keys, people."""
