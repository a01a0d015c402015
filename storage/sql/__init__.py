"""The log: tweets and deletions in SQL, the only truth."""
