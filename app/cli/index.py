"""`verify` and `rebuild`: whether the index equals the log, and how it becomes so."""

import time
from argparse import Namespace
from collections.abc import Sequence

from app.bootstrap import opened_tweets
from app.cli.progress import Progress
from app.settings import Settings
from storage import Tweets, ids
from storage.compare import Difference
from storage.describe import describe

SHOWN = 50
"""Differences printed one by one."""

DIFFERENT = 1
"""The exit code when a count differs."""


def verify(arguments: Namespace, settings: Settings) -> int:
    """
    Read the whole database and compare every count. Raises StoreDamaged.

    The exit code is 1 when a count differs and, with `--repair`, still does after a rebuild.
    """
    with opened_tweets(settings, attach=True) as tweets:
        if settings.metrics:
            _keep_verdicts(tweets, settings)
        began = time.monotonic()
        tweets.database.check_whole()
        differences = compare(tweets)
        print_verdict(differences, describe(tweets).live, time.monotonic() - began)
        if differences and arguments.repair:
            count_anew(tweets)
            differences = compare(tweets)
            print("Rebuilt." if not differences else "Rebuilt, and still wrong:")
            if differences:
                print_verdict(differences, describe(tweets).live, time.monotonic() - began)
    return DIFFERENT if differences else 0


def rebuild(_arguments: Namespace, settings: Settings) -> int:
    """Rebuild the index."""
    with opened_tweets(settings, attach=True) as tweets:
        began = time.monotonic()
        count_anew(tweets)
        print(f"Rebuilt the index of {describe(tweets).live:,} tweets in {time.monotonic() - began:.1f} s.")
    return 0


def compare(tweets: Tweets) -> list[Difference]:
    """Every difference between the index and the log, showing how far that is."""
    tweets.reconciler.catch_up()
    described = describe(tweets)
    # Each tweet of the log is read, and each member of the index.
    total = described.live + sum(partition.ranked or 0 for partition in described.partitions)
    with Progress("comparing") as progress:

        def told(read: int) -> None:
            share = min(read / max(total, 1), 1)
            progress.show(int(described.live * share), share)

        differences = tweets.reconciler.verify(told)
        progress.show(described.live, 1)
    return differences


def count_anew(tweets: Tweets, *, moved: bool = False) -> None:
    """Rebuild the index, showing how far that is; *moved* when the log has far more than the index anyway."""
    live = sum(head.live for head in tweets.database.get_state().heads.values())
    with Progress("counting") as progress:
        if moved:
            tweets.reconciler.catch_up()  # which rebuilds it then
        else:
            tweets.reconciler.rebuild(lambda counted: progress.show(counted, min(counted / max(live, 1), 1)))
        progress.show(live, 1)


def _keep_verdicts(tweets: Tweets, settings: Settings) -> None:
    """Let a running service show in its numbers what is found here."""
    from app.metrics import VerdictKept

    tweets.observe(VerdictKept(settings.data_dir))


def print_verdict(differences: Sequence[Difference], live: int, took_s: float) -> None:
    """Print how many counts are right and wrong, and the wrong ones; *live* tweets were compared."""
    wrong = len(differences)
    right = live - sum(difference.in_log is not None for difference in differences)
    print(f"{right:,} right, {wrong:,} wrong, in {took_s:.1f} s.")
    if differences:
        print(f"{'tweet':13}  {'in the log':>13}  {'in the index':>13}")
    for difference in differences[:SHOWN]:
        print(f"{ids.encode(difference.tweet_id)}  {_shown(difference.in_log):>13}  {_shown(difference.in_index):>13}")
    if wrong > SHOWN:
        print(f"... and {wrong - SHOWN:,} more.")


def _shown(count: int | None) -> str:
    return "missing" if count is None else str(count)
