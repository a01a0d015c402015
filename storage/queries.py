"""What the log alone answers, for the application: the tops of windows, cascades, and the change feed."""

from storage.sql.cascades import Cascade, Node, list_descendants, read_cascade
from storage.sql.changes import ChangesPage, EntryRow, read_changes
from storage.sql.windows import USERS_KEPT, Window, rank_tweets, rank_users, rank_window

__all__ = [
    "USERS_KEPT",
    "Cascade",
    "ChangesPage",
    "EntryRow",
    "Node",
    "Window",
    "list_descendants",
    "rank_tweets",
    "rank_users",
    "rank_window",
    "read_cascade",
    "read_changes",
]
