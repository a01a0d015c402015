"""What the commands do with a store as a whole; nothing of the service imports it."""
