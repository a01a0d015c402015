"""`seed`: tweets to look at, with users who have something to say and chains of a chosen depth."""

import random
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

from app.bootstrap import opened_tweets
from app.cli.transfer import store
from app.settings import Settings
from storage.transfer import Given

SPAN_MS = 2 * 86_400_000
"""The tweets are spread over this time, up to now."""

RETWEETS = 0.8
"""How many of all tweets retweet another one."""

OWN_WORDS = 0.3
"""How many retweets say something of their own."""

USERS = (
    *("ada", "amira", "ben.k", "chidi", "dana_w", "eluned", "farid", "grace", "hana", "igor", "jo_m", "kenji", "lena"),
    *("maya", "nils", "oluchi", "priya", "quentin", "rosa", "sam", "tove", "uma", "viktor", "wanjiru", "xenia", "zoe"),
    *("baker_street", "night-bus", "tram_12", "harbour.radio"),
)
SUBJECTS = (
    ("Fog over the harbour", "The ferries are running late, and nobody minds. You hear them long before you see them."),
    ("Free piano, third floor", "It has two silent keys and a good heart. Bring three friends and a strong rope."),
    ("The library opens on Sundays", "From ten to six, with the reading room heated. Thank you to everyone who asked."),
    ("Tomatoes, at last", "Eleven weeks from seed to sandwich. The neighbours have been warned."),
    ("Why is the bridge humming?", "Every evening about nine, one clear note. I have recorded it; who can name it?"),
    ("Lost: one grey cat", "Answers to Biscuit, or to nothing. Last seen asleep in the window of the bakery."),
    ("A trick for sharp knives", "Twenty strokes on the bottom of a mug. My grandmother was right about this, too."),
    ("Night trains are back", "Asleep in one city, awake in the next, coffee in bed. I had forgotten the joy of it."),
    ("Maps of places that never were", "Small and wonderful. Stay for the atlas drawn by a nine-year-old."),
    ("Rain barrels: what I learned", "Cover them, raise them, and put the tap higher than you think. Photos tomorrow."),
    ("The choir needs basses", "No audition. If you can hum in the shower, you can sing with us on Thursdays."),
    ("Comet tonight", "Low in the north-west, half an hour after sunset. Binoculars help; patience helps more."),
    ("Repair café on Saturday", "Last time we saved nine toasters, four lamps and one accordion. Bring what broke."),
    ("Bread without kneading", "Flour, water, salt, a little yeast, and eighteen hours of leaving it alone."),
    ("First snow on the pass", "Road is open, chains recommended. The view from the top is worth the slow way up."),
    ("An owl in the car park", "Level four, above the lift. She watches the commuters with great disapproval."),
)
REMARKS = (
    ("Worth a look", "I did not believe it until I saw it myself."),
    ("Passing this on", "Somebody here will need this today."),
    ("Yes!", "Finally someone says it."),
    ("For the weekend", "Who is coming along?"),
    ("Made my morning", "More of this, please."),
    ("Can confirm", "The same here, and better than described."),
)


class _Tweet(NamedTuple):
    number: int
    depth: int
    parent: "_Tweet | None"
    title: str
    body: str


def seed(arguments: Namespace, settings: Settings) -> int:
    """Add the tweets, in one import. Raises ImportRefused when MAX_ANCESTORS is less than the depth."""
    given = seeded(arguments.tweets, arguments.depth, arguments.seed, time.time_ns() // 1_000_000)
    with opened_tweets(settings, attach=True) as tweets:
        store(tweets, given, settings, lambda: None)
    return 0


def seeded(count: int, depth: int, seed_number: int, now_ms: int) -> Iterator[Given]:
    """*count* tweets up to *now_ms*, the deepest with *depth* ancestors if there are enough tweets for that."""
    rng = random.Random(seed_number)  # noqa: S311  # nothing secret: the same number, the same tweets
    times = sorted(rng.randrange(now_ms - SPAN_MS, now_ms) for _ in range(count))
    written: list[_Tweet] = []
    for number, created_at in enumerate(times, 1):
        # The first ones are one chain of the full depth, so that it is reached; what follows is left to chance.
        parent = written[-1] if written and number <= depth + 1 else _chosen(rng, written, depth)
        title, body = _words(rng, parent)
        written.append(_Tweet(number, parent.depth + 1 if parent else 0, parent, title, body))
        above = parent.number if parent else None
        yield Given(number, number, above, None, created_at, rng.choice(USERS), title, body)


def _chosen(rng: random.Random, written: list[_Tweet], depth: int) -> _Tweet | None:
    """
    A tweet to retweet, None for a tweet of its own.

    A tweet drawn by chance often stands below a popular one, so its parent is popular more often than not: the rich
    get richer, and counts fall off as they do in life.
    """
    if not written or rng.random() >= RETWEETS:
        return None
    chosen = rng.choice(written)
    while chosen.parent and (chosen.depth >= depth or rng.random() < 0.5):
        chosen = chosen.parent
    return chosen


def _words(rng: random.Random, parent: _Tweet | None) -> tuple[str, str]:
    if parent is None:
        return rng.choice(SUBJECTS)
    return rng.choice(REMARKS) if rng.random() < OWN_WORDS else (parent.title, parent.body)
