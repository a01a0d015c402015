"""`token`: API tokens. A running service sees a change within about a second."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime

from app.bootstrap import opened_database
from app.cli import CommandError
from app.http.schemas import RULES, names_user
from app.settings import Settings
from storage.tokens import Token, Tokens


def token(arguments: Namespace, settings: Settings) -> int:
    """Do one of the three actions. Raises CommandError, StorageError, CannotOpen."""
    with opened_database(settings) as database:
        tokens = Tokens(database)
        if arguments.action == "add":
            if not names_user(arguments.user):
                raise CommandError(f"A user must be {RULES['user_name']}.")
            first = not tokens.list_all()
            # The token alone on stdout, so that a script can take it; all else goes to stderr.
            print(tokens.add(arguments.user, admin=arguments.admin), flush=True)
            print("Keep it: it is not shown again. Send it as `Authorization: Bearer TOKEN`.", file=sys.stderr)
            if first:
                print("It is the first one: from now on every write needs a token.", file=sys.stderr)
        elif arguments.action == "revoke":
            tokens.revoke(arguments.id)
            print(f"Revoked {arguments.id}.")
        else:
            _print_all(tokens.list_all(), as_json=arguments.json)
    return 0


def _print_all(tokens: Sequence[Token], *, as_json: bool) -> None:
    rows = [
        {
            "id": each.id,
            "kind": "admin" if each.admin else "user",
            "created_at": _time(each.created_at),
            "revoked_at": _time(each.revoked_at),
            "user": each.user_name,
        }
        for each in tokens
    ]
    if as_json:
        print(json.dumps(rows))
        return
    print(f"{'id':12}  {'kind':5}  {'created':17}  {'revoked':17}  user")
    for row in rows:
        print(
            "{id}  {kind:5}  {created_at}  {revoked_at:17}  {user}".format(
                **row | {"revoked_at": row["revoked_at"] or "-"}
            )
        )


def _time(time_ms: int | None) -> str | None:
    """To the minute, UTC; None for none."""
    return None if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"
