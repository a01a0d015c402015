"""
Tokens: who may write, once there is one. They are kept beside the tweets, so all processes and hosts have the same.

A token is `st_ID_SECRET`: ID is public and names it, SECRET is 256 random bits. Of the whole text only its SHA-256 is
stored: it cannot be shown again, and needs no salt, as it cannot be guessed. A revoked token keeps its row: from the
first token on writes need one, and revoking the last does not open the service again.
"""

import math
import re
import secrets
import threading
import time
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from sqlalchemy import insert, select, update

from storage.errors import StorageError
from storage.sql.database import Database
from storage.sql.schema import tokens

READ_EVERY_S = 1.0
"""How old the list of tokens may be: so soon a running service heeds one that was added or revoked."""

SECRET_BYTES = 32
ID_BYTES = 6

_TEXT = re.compile(r"st_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_DIGEST = bytes(32)


class Token(NamedTuple):
    """A token without its secret. An *admin* may do more; times are in milliseconds since 1970, UTC."""

    id: str
    user_name: str
    admin: bool
    digest: bytes
    created_at: int
    revoked_at: int | None


class Tokens:
    """The tokens of *database*. Safe to use from any thread; each call may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = threading.Lock()
        self._known: dict[str, Token] = {}
        self._read_at = -math.inf

    def add(self, user_name: str, *, admin: bool = False) -> str:
        """Make a token of *user_name*; its text, which is stored nowhere."""
        token_id = secrets.token_hex(ID_BYTES)
        text = f"st_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
        row = Token(token_id, user_name, admin, _digest(text), time.time_ns() // 1_000_000, None)
        with self._database.writing() as connection:
            connection.execute(insert(tokens), row._asdict())
        return text

    def revoke(self, token_id: str) -> None:
        """Take a token back, for good. Raises StorageError when there is no such token, or not any more."""
        mine = tokens.c.id == token_id, tokens.c.revoked_at.is_(None)
        with self._database.writing() as connection:
            revoked = connection.execute(update(tokens).where(*mine).values(revoked_at=time.time_ns() // 1_000_000))
            if not revoked.rowcount:
                raise StorageError(f"No token has the id {token_id!r}, or it was revoked before.")

    def list_all(self) -> list[Token]:
        """All tokens, those revoked as well, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings().all()
        return [Token(**row) for row in rows]

    def refresh(self, age_s: float = 0.0) -> None:
        """
        Read the list of tokens, which `are_needed` and `find` look at, if it is at least so old.

        Calls at the same time read it once.
        """
        if self.age_s() >= age_s:
            with self._reading:
                if self.age_s() >= age_s:
                    asked_at = time.monotonic()
                    self._known = {token.id: token for token in self.list_all()}
                    self._read_at = asked_at

    def age_s(self) -> float:
        """How long ago the list was read; infinite when it never was."""
        return time.monotonic() - self._read_at

    def are_needed(self) -> bool:
        """Whether writes need a token, for one was added some time. A list that was never read is read now."""
        self.refresh(math.inf)
        return bool(self._known)

    def find(self, text: str) -> Token | None:
        """The token of that *text*; None when it is none, or was revoked. A list that was never read is read now."""
        self.refresh(math.inf)
        named = _TEXT.fullmatch(text)
        token = self._known.get(named[1]) if named else None
        # Compared for an unknown id as well, so that the time taken says nothing.
        is_right = compare_digest(_digest(text), token.digest if token else _NO_DIGEST)
        return token if token and is_right and token.revoked_at is None else None


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
