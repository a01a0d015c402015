"""
What can go wrong in storage, said without a word of HTTP, SQL or Redis.

Every class says what holds after it. Nothing else leaves `storage`: a driver's error is turned into one of these in the
place where it arises, with the driver's own as its cause.
"""


class StorageError(Exception):
    """Storage could not do what was asked."""


class ToolRefused(StorageError):
    """A backup, import, mirror or migration cannot be done; the message is a sentence. What was there is unchanged."""


class TweetNotFound(StorageError):
    """No tweet has that id, and none ever had. Nothing was stored."""


class TweetDeleted(StorageError):
    """The tweet was deleted; its place in its chain remains. Nothing was stored."""


class ChainTooLong(StorageError):
    """The new tweet would have more ancestors than a chain may have. Nothing was stored."""


class KeyReused(StorageError):
    """The idempotency key already names another call or other values of that user. Nothing was stored."""


class WindowTooLarge(StorageError):
    """The window holds more retweets than are counted for one answer."""


class CascadeTooLarge(StorageError):
    """The tweet has more descendants than are read for one answer."""


class OtherTimeline(StorageError):
    """
    The cursor is from another timeline: of another database, or of this one before a backup was restored.

    What was read up to it may not be in this log; start again without a cursor.
    """


class CursorUnknown(StorageError):
    """The cursor is none that this list gives."""


class Retryable(StorageError):
    """It may work when it is asked again later; `retry_after_s` says when, in whole seconds."""

    retry_after_s = 1


class Overloaded(Retryable):
    """More writes wait than may wait, or this one waited too long. Nothing was stored."""


class StoreUnavailable(Retryable):
    """
    The database did not answer.

    A write may or may not have been stored: with an idempotency key it may be repeated, and counts once.
    """


class StoreBusy(StoreUnavailable):
    """The database could not do it now: others were in the way, or it is being restarted. Nothing was stored."""


class StoreForbidden(StoreUnavailable):
    """The user of the database lacks a right; the message is one sentence for its operator. Nothing was stored."""


class StoreDamaged(StoreUnavailable):
    """The database holds something that it cannot have written: only a backup helps."""


class StoreFull(StorageError):
    """The disk of the database is full. Nothing was stored; what is stored can still be read."""


class IndexUnavailable(Retryable):
    """Redis did not answer, or is not yet equal to the log again. Nothing is lost; it repairs itself."""


class IndexDamaged(IndexUnavailable):
    """Redis holds, under a key of ours, what this service cannot have written. It is removed and rebuilt."""


class StoreConflict(StorageError):
    """A constraint of the database refused a row. Nothing of that transaction was stored."""


class CannotOpen(StorageError):
    """Storage cannot be opened; the message is one sentence for a person, and says what to do."""


def clause(error: object) -> str:
    """What *error* says as a part of a sentence: in one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".")
