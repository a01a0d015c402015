"""Tweets on disk, their ranking in Redis, and what keeps the two equal. `open_storage` is the one door."""
