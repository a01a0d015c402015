"""`mirror`: keep the database of these settings equal to that of a running service, or to another database."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import msgspec

from app import CommandError
from app.bootstrap import opened_database
from app.cli.progress import progress
from app.http.schemas import Change, ChangeList
from app.settings import Settings
from storage import ids
from storage.errors import OtherTimeline, Retryable, StoreUnavailable
from storage.migrate import check_usable
from storage.queries import ChangesPage, EntryRow, read_changes
from storage.sql.database import Database, open_database, read_url
from storage.tools.mirror import LIMIT, copy_keys, copy_page, copy_tokens

LOOK_EVERY_S = 0.5
"""How often a source is asked that had nothing new."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
"""Before a source or target that did not answer is asked again."""

TRY_ONCE_FOR_S = 30.0
"""How long `--once` asks in vain before it gives up."""

ANSWER_WITHIN_S = 30.0
LARGEST_PAGE = 256 * 2**20


def mirror_command(arguments: Namespace, settings: Settings) -> int:
    """Copy the entries of SOURCE until stopped, or with `--once` until level. Raises CommandError, ToolRefused."""
    with ExitStack() as opened:
        source = None
        read: Callable[[str | None], ChangesPage] = partial(_read_service, arguments.source, arguments.token)
        if not arguments.source.startswith(("http://", "https://")):
            source = opened.enter_context(closing(_open_source(arguments.source)))
            read = partial(read_changes, source, limit=LIMIT)
        target = opened.enter_context(opened_database(settings))
        show = opened.enter_context(progress("mirroring", unit="entries"))
        done, tried_at, pause_s, lacks_keys = 0, time.monotonic(), FIRST_PAUSE_S, True
        while True:
            try:
                count = copy_page(target, settings.data_dir / "mirror.json", read)
                if not count and source:
                    if lacks_keys:  # of what came from a service, perhaps
                        copy_keys(source, target)
                        lacks_keys = False
                    copy_tokens(source, target)
            except OtherTimeline as error:
                raise CommandError(
                    "The source is no more the database that was mirrored (a backup was restored, perhaps): "
                    "mirror it into an empty database."
                ) from error
            except Retryable as error:
                if arguments.once and time.monotonic() - tried_at > TRY_ONCE_FOR_S:
                    raise CommandError(f"The mirror cannot go on ({error}); started again, it resumes.") from error
                print(f"mirroring: {error}; trying again", file=sys.stderr, flush=True)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            tried_at, pause_s = time.monotonic(), FIRST_PAUSE_S
            done += count
            show(done)
            if not count:
                if arguments.once:
                    return 0
                time.sleep(LOOK_EVERY_S)


def _open_source(address: str) -> Database:
    """The database of a URL, if there is one that can be read. Raises CommandError, CannotOpen."""
    url = read_url(address)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise CommandError(f"There is no database at {url.database}.")
    source = open_database(url)
    with source.reading() as connection:
        check_usable(connection)
    return source


def _read_service(address: str, token: str | None, cursor: str | None) -> ChangesPage:
    """A page of the feed of the service at *address*. Raises StoreUnavailable, OtherTimeline, CommandError."""
    query = urlencode({"limit": LIMIT} | ({"cursor": cursor} if cursor else {}))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{address.rstrip('/')}/api/v1/changes?{query}", headers=headers)  # noqa: S310  # the caller has seen to it
    try:
        with urlopen(request, timeout=ANSWER_WITHIN_S) as response:  # noqa: S310
            body = response.read(LARGEST_PAGE)
        page = msgspec.json.decode(body, type=ChangeList)
    except HTTPError as error:
        with error:
            if error.code == 410:
                raise OtherTimeline from error
            if error.code >= 500 or error.code == 429:
                raise StoreUnavailable(f"{address} answers {error.code}") from error
            raise CommandError(f"{address} answers {error.code}: it gives no change feed to this command.") from error
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(f"{address} does not answer ({getattr(error, 'reason', None) or error})") from error
    except msgspec.DecodeError as error:
        raise CommandError(f"{address} gives no change feed; name the address of a service of this version.") from error
    return ChangesPage([_entry_of(change) for change in page.changes], page.next)


def _entry_of(change: Change) -> EntryRow:
    posted = change.posted
    if posted is None:
        return EntryRow(change.partition, change.seq, 0, -1, _id_of(change.deleted), None, 0, 0, None, None, None)
    created_at = int(datetime.fromisoformat(posted.created_at).timestamp() * 1000)
    parent = None if posted.retweet is None else _id_of(posted.retweet)
    place = (change.partition, change.seq, 0, 1, _id_of(posted.id), parent, posted.count_retweet or 0, created_at)
    return EntryRow(*place, posted.user_name, posted.title, posted.body)


def _id_of(text: str | None) -> int:
    found = ids.decode(text or "")
    if found is None:
        raise CommandError("The change feed names something that is no id.")
    return found
