"""The index: the ranking in Redis, a fold of the log that may be rebuilt from it at any time."""
