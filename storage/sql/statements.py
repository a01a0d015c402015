"""
The statements of the log: constants of SQLAlchemy's, so that none is built per call, and how they are run.

A list is one parameter. It is sent as one text, which SQLite takes apart with `json_each` and PostgreSQL as an array:
the statement is the same for any number of values, and goes by the index.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    LargeBinary,
    Text,
    bindparam,
    literal,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator

from storage.sql.schema import heads, store, tweets

KEY_SIZE = 16
"""Bytes of a digest."""


class Ids(TypeDecorator[Any]):
    """A list of integers as one text: JSON for SQLite, the text of an array for PostgreSQL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> str:
        """The text of *value*."""
        values = ",".join(map(str, value or ()))
        return f"[{values}]" if dialect.name == "sqlite" else f"{{{values}}}"


class Keys(TypeDecorator[Any]):
    """A list of digests as one value. JSON has no bytes: for SQLite it is all of them, one after the other."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Bytes for SQLite, a text for PostgreSQL."""
        return dialect.type_descriptor(LargeBinary() if dialect.name == "sqlite" else Text())

    def process_bind_param(self, value: Sequence[bytes] | None, dialect: Dialect) -> bytes | str:
        """The bytes or the text of *value*."""
        if dialect.name == "sqlite":
            return b"".join(value or ())
        return "{" + ",".join(f'"\\\\x{each.hex()}"' for each in value or ()) + "}"


class in_list(FunctionElement[Any]):  # noqa: N801  # it reads as the operator that it is
    """`in_list(column, parameter)`: whether the column is in the list that is the parameter, of `Ids` or `Keys`."""

    # Not Boolean: SQLAlchemy would write `(...) = 1` on SQLite, which loses the index.
    type = NullType()
    inherit_cache = True


@compiles(in_list, "sqlite")
def _in_list_of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, parameter = (compiler.process(each, **options) for each in element.clauses)
    if isinstance(element.clauses.clauses[1].type, Ids):
        return f"{column} IN (SELECT value FROM json_each({parameter}))"  # noqa: S608  # a placeholder
    again = compiler.process(element.clauses.clauses[1], **options)
    cut = f"SELECT 1 UNION ALL SELECT at + {KEY_SIZE} FROM cut WHERE at + {KEY_SIZE} <= length({parameter})"  # noqa: S608
    return f"{column} IN (WITH RECURSIVE cut(at) AS ({cut}) SELECT substr({again}, at, {KEY_SIZE}) FROM cut)"  # noqa: S608


@compiles(in_list, "postgresql")
def _in_list_of_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, parameter = (compiler.process(each, **options) for each in element.clauses)
    kind = "BIGINT" if isinstance(element.clauses.clauses[1].type, Ids) else "BYTEA"
    return f"{column} = ANY (CAST({parameter} AS {kind}[]))"


def ids(name: str = "ids") -> Any:
    """A parameter that is a list of integers."""
    return bindparam(name, type_=Ids())


def number(name: str) -> Any:
    """A parameter that is an integer of 64 bits."""
    return bindparam(name, type_=BigInteger)


class _Compiled(NamedTuple):
    """A statement as a driver takes it: its text, its parameters in order, those that are constants or lists."""

    text: str
    names: Sequence[str]
    constants: Mapping[str, Any]
    lists: Mapping[str, Ids | Keys]


_compiled: dict[tuple[Any, str], _Compiled] = {}


def _compile(statement: Any, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    types = {name: bind.type for name, bind in compiled.binds.items()}
    return _Compiled(
        str(compiled),
        compiled.positiontup or [],
        {name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        {name: kind for name, kind in types.items() if isinstance(kind, (Ids, Keys))},
    )


def run(driver: Any, dialect: Dialect, statement: Any, each: Iterable[Mapping[str, Any]] = ({},)) -> Any:
    """
    Run *statement*, one of the constants below, on a *driver*'s connection, with *each* parameters; the last cursor.

    SQLAlchemy takes some 50 us more for each, and a batch has five. Raises the driver's errors.
    """
    key = statement, dialect.name
    if (found := _compiled.get(key)) is None:
        found = _compiled[key] = _compile(statement, dialect)
    cursor = None
    for parameters in each:
        given = {**found.constants, **parameters}
        for name, kind in found.lists.items():
            given[name] = kind.process_bind_param(given[name], dialect)
        cursor = driver.execute(found.text, [given[name] for name in found.names] if dialect.positional else given)
    return cursor


def rows(connection: Connection, statement: Any, **parameters: Any) -> list[Any]:
    """The rows of *statement*, as tuples, in the transaction of *connection*."""
    found: list[Any] = run(
        connection.connection.driver_connection, connection.dialect, statement, (parameters,)
    ).fetchall()
    return found


# Heads, each with what `Store` holds.
STORE = select(store.c.id, store.c.partitions)
STATE = (
    select(heads.c.partition, heads.c.seq, heads.c.nonce, heads.c.last_id, heads.c.live, *STORE.selected_columns)
    .join_from(heads, store, true())
    .order_by(heads.c.partition)
)
LOCKED_HEADS = STATE.where(in_list(heads.c.partition, ids())).with_for_update(of=heads)
MOVE_HEAD = (
    update(heads)
    .where(heads.c.partition == bindparam("at"))
    .values({name: bindparam(name) for name in ("seq", "nonce", "last_id", "live")})
)

COUNTED_HEADS = text("""
SELECT heads.partition, heads.seq, heads.nonce, heads.last_id, heads.live,
    coalesce(counted.entries, 0), coalesce(counted.seq, 0), coalesce(counted.deleted_seq, 0),
    coalesce(counted.last_id, 0), coalesce(counted.live, 0)
FROM heads LEFT JOIN (
    SELECT partition, count(*) + count(deleted_seq) AS entries, max(seq) AS seq, max(deleted_seq) AS deleted_seq,
        max(id) AS last_id, count(*) - count(deleted_seq) AS live
    FROM tweets GROUP BY partition
) AS counted ON counted.partition = heads.partition
ORDER BY heads.partition
""")
"""Every head beside what the rows of its partition make it, as of one instant. Reads the whole table."""

# Rows by id, by chain, by parent, by author.
_ROW = (
    tweets.c.id,
    tweets.c.parent,
    tweets.c.partition,
    tweets.c.depth,
    tweets.c.base,
    tweets.c.created_at,
    tweets.c.user_name,
    tweets.c.title,
    tweets.c.body,
)
BY_IDS = select(*_ROW).where(in_list(tweets.c.id, ids()))
IDS_FROM = select(tweets.c.id).where(tweets.c.id >= number("first")).order_by(tweets.c.id).limit(number("limit"))
ROWS_FROM = (
    select(*_ROW, tweets.c.seq).where(tweets.c.id >= number("first")).order_by(tweets.c.id).limit(number("limit"))
)
CALLS = select(tweets.c.key_digest, tweets.c.id, tweets.c.call_digest).where(
    in_list(tweets.c.key_digest, bindparam("keys", type_=Keys()))
)
_START = (
    select(tweets.c.id, tweets.c.parent, literal(1).label("n"))
    .where(tweets.c.id == number("id"))
    .cte("upwards", recursive=True)
)
_CHAIN_IDS = _START.union_all(
    select(tweets.c.id, tweets.c.parent, _START.c.n + 1).where(
        tweets.c.id == _START.c.parent, _START.c.n < number("limit")
    )
)
CHAIN = select(*_ROW).where(tweets.c.id.in_(select(_CHAIN_IDS.c.id))).order_by(tweets.c.id.desc())
"""From the tweet upwards: a parent has a smaller id."""

_WHOLE = select(tweets.c.id, tweets.c.parent).where(tweets.c.id == number("id")).cte("upwards", recursive=True)
_WHOLE_IDS = _WHOLE.union_all(select(tweets.c.id, tweets.c.parent).where(tweets.c.id == _WHOLE.c.parent))
_WINDOW = (
    select(_WHOLE_IDS.c.id).where(_WHOLE_IDS.c.id > number("after")).order_by(_WHOLE_IDS.c.id).limit(number("limit"))
)
CHAIN_FROM_ROOT = select(*_ROW).where(tweets.c.id.in_(_WINDOW)).order_by(tweets.c.id)
"""All ids of a chain are walked, 1 us each; only the rows of the window are read."""

_NEWEST_FIRST = select(*_ROW).where(tweets.c.id < number("below")).order_by(tweets.c.id.desc()).limit(number("limit"))
NEWEST = _NEWEST_FIRST.where(tweets.c.deleted_seq.is_(None))
RETWEETS = NEWEST.where(tweets.c.parent == number("parent"))
BY_USER = _NEWEST_FIRST.where(tweets.c.user_name == bindparam("user"))

_CHILDREN = (
    select(tweets.c.parent.label("ancestor"), tweets.c.id, tweets.c.deleted_seq)
    .where(in_list(tweets.c.parent, ids()))
    .cte("downwards", recursive=True)
)
_DOWNWARDS = _CHILDREN.union_all(
    select(_CHILDREN.c.ancestor, tweets.c.id, tweets.c.deleted_seq).where(tweets.c.parent == _CHILDREN.c.id)
)
DESCENDANTS = select(_DOWNWARDS.c.ancestor, _DOWNWARDS.c.deleted_seq.is_(None)).limit(number("limit"))

# Ancestries.
ANCESTRIES = select(tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.depth).where(in_list(tweets.c.id, ids()))
_SELECTED = ANCESTRIES.cte("upwards", recursive=True)
# UNION, not UNION ALL: chains that share ancestors are walked once.
_UPWARDS = _SELECTED.union(
    select(tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.depth).where(tweets.c.id == _SELECTED.c.parent)
)
CHAINS = select(_UPWARDS.c.id, _UPWARDS.c.parent, _UPWARDS.c.partition, _UPWARDS.c.depth)

# Entries of the log.
DELETE = (
    update(tweets)
    .where(tweets.c.id == bindparam("tweet_id"))
    .values(deleted_seq=bindparam("at_seq"), deleted_nonce=bindparam("at_nonce"), user_name=None, title=None, body=None)
)
_AT = tweets.c.partition == number("partition")
NONCE = union_all(
    select(tweets.c.nonce).where(_AT, tweets.c.seq == number("seq")),
    select(tweets.c.deleted_nonce).where(_AT, tweets.c.deleted_seq == number("seq")),
)
CHUNK = text("""
SELECT id, parent, base, seq, deleted_seq FROM tweets
WHERE partition = :partition AND seq < :below ORDER BY seq DESC LIMIT :limit
""")
PARENTS = select(tweets.c.parent).distinct().where(tweets.c.parent.is_not(None)).order_by(tweets.c.parent)
# Bounds and not a LIMIT: with one, PostgreSQL reads and sorts everything after the place.
_AFTER, _TO = number("after_seq"), number("after_seq") + number("limit")
ENTRIES = union_all(
    select(
        tweets.c.seq.label("seq"), tweets.c.nonce, tweets.c.id, tweets.c.parent, tweets.c.base, literal(1).label("sign")
    ).where(_AT, tweets.c.seq > _AFTER, tweets.c.seq <= _TO),
    select(
        tweets.c.deleted_seq, tweets.c.deleted_nonce, tweets.c.id, tweets.c.parent, tweets.c.base, literal(-1)
    ).where(_AT, tweets.c.deleted_seq > _AFTER, tweets.c.deleted_seq <= _TO),
).order_by("seq")
