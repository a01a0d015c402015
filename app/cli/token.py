"""`token`: who may write. A running service heeds what is said here within about a second."""

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from app.cli.verb import Refused, Verbs
from app.http.wire import RULES, names_user
from app.settings import Settings
from storage import open_log, prepare_schema
from storage.tokens import Token, Tokens


def token(arguments: Namespace, settings: Settings) -> int:
    """Do one of the three acts. Raises Refused, TokenNotFound, CannotOpen."""
    with _opened(settings) as tokens:
        if arguments.act == "add":
            _add(tokens, arguments.user, admin=arguments.admin)
        elif arguments.act == "revoke":
            tokens.revoke(arguments.id)
            print(f"Revoked {arguments.id}.")
        else:
            _print_table(tokens.list_all())
    return 0


@contextmanager
def _opened(settings: Settings) -> Iterator[Tokens]:
    with closing(open_log(settings.data_dir, settings.database_url)) as database:
        prepare_schema(database, settings.partitions, settings.ranked, embedded=not settings.database_url)
        yield Tokens(database)


def _add(tokens: Tokens, user_name: str, *, admin: bool) -> None:
    """Print the token alone on stdout, so that a script can take it; what there is to say goes to stderr."""
    if not names_user(user_name):
        raise Refused(f"A user must be {RULES['user_name']}.")
    first = not tokens.list_all()
    print(tokens.add(user_name, admin=admin), flush=True)
    print("Keep it: it is not shown again. Send it as `Authorization: Bearer TOKEN`.", file=sys.stderr)
    if first:
        print("It is the first one: from now on every write needs a token.", file=sys.stderr)


def _print_table(tokens: Iterable[Token]) -> None:
    print(f"{'id':12}  {'kind':5}  {'made':16}  {'revoked':16}  user")
    for each in tokens:
        kind = "admin" if each.admin else "user"
        print(f"{each.id}  {kind:5}  {_time(each.created_at)}  {_time(each.revoked_at)}  {each.user_name}")


def _time(time_ms: int | None) -> str:
    """To the minute, UTC; as many dashes for none."""
    return "-" * 16 if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"


VERBS: Verbs = {"token": token}
