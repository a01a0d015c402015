"""The verbs with a DATABASE_URL of PostgreSQL, as child processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import open_storage
from storage.ids import encode
from storage.tools.verify import verify
from tests.builders import post, whole_ranking
from tests.e2e.commands import CASCADES, done, nothing_runs, refused, run, serving
from tests.e2e.test_cli_transfer import fill, rows_of
from tests.e2e.test_cli_verbs import spoil
from tests.postgresql import PostgreSQL


@pytest.fixture
def name(postgresql: PostgreSQL) -> Iterator[str]:
    """A database without a schema."""
    with postgresql.database() as made:
        yield made


@pytest.fixture
def url(postgresql: PostgreSQL, name: str) -> str:
    """Its DATABASE_URL."""
    return postgresql.url(name)


def test_migrate(tmp_path: Path, postgresql: PostgreSQL, name: str, url: str) -> None:
    """Nothing is migrated unasked; up, status, check and down do what they say, with the partitions asked for."""
    for verb in ("serve", "info", "export"):
        assert "run `simple-twitter migrate up`" in refused(tmp_path, verb, DATABASE_URL=url)
    assert b"missing" in done(tmp_path, "migrate", "status", DATABASE_URL=url)
    status = done(tmp_path, "migrate", "up", DATABASE_URL=url, PARTITIONS="3")
    assert b"missing" not in status
    assert postgresql.execute("SELECT partitions FROM store", name=name) == [(3,)]
    assert done(tmp_path, "migrate", "check", DATABASE_URL=url) == b"The tables are as declared.\n"
    postgresql.execute("DROP INDEX tweets_by_user", name=name)
    checked = run(tmp_path, "migrate", "check", DATABASE_URL=url)
    assert (checked.returncode, checked.stdout) == (1, b"missing: index tweets_by_user\n")
    done(tmp_path, "migrate", "down", "--to", "base", "--yes", DATABASE_URL=url)
    assert postgresql.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'tweets'", name=name) == [(0,)]


def test_import_verify_rebuild_info(tmp_path: Path, url: str, sample: Path) -> None:
    """A file of cascades is imported; its counts are right, found wrong when one is, and right after a rebuild."""
    done(tmp_path, "migrate", "up", DATABASE_URL=url)
    count = len(rows_of(CASCADES))
    done(tmp_path, "import", sample, DATABASE_URL=url)
    assert done(tmp_path, "verify", DATABASE_URL=url).startswith(f"{count:,} right, 0 wrong".encode())
    with open_storage(tmp_path, url, attach=True) as tweets:  # without a scrub, which would be first to find it
        top = tweets.top(1).result().tweets[0]
        spoil(tmp_path, encode(top.id))
        wrong = run(tmp_path, "verify", DATABASE_URL=url)
        assert wrong.returncode == 1
        assert f"{count - 1:,} right, 1 wrong".encode() in wrong.stdout
        done(tmp_path, "rebuild", DATABASE_URL=url)
        assert verify(tweets) == []
        assert tweets.top(1).result().tweets[0] == top
    printed = done(tmp_path, "info", DATABASE_URL=url).decode()
    assert "(postgresql 1" in printed
    assert "postgresql+psycopg://postgres@/" in printed
    assert f"{count:,} live" in printed


def test_export_and_import_between_systems(tmp_path: Path, postgresql_url: str) -> None:
    """From SQLite to PostgreSQL and back: the same bytes, the same ranking."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    with open_storage(first) as tweets:
        fill(tweets)
        ranking = whole_ranking(tweets)
    done(first, "export", tmp_path / "one.jsonl")
    done(second, "import", tmp_path / "one.jsonl", DATABASE_URL=postgresql_url)
    done(second, "export", tmp_path / "two.jsonl", DATABASE_URL=postgresql_url)
    done(third, "import", tmp_path / "two.jsonl")
    done(third, "export", tmp_path / "three.jsonl")
    exported = (tmp_path / "one.jsonl").read_bytes()
    assert (tmp_path / "two.jsonl").read_bytes() == exported
    assert (tmp_path / "three.jsonl").read_bytes() == exported
    with open_storage(second, postgresql_url) as tweets:
        tweets.reconciler.catch_up()
        assert whole_ranking(tweets) == ranking


def test_import_that_is_refused_leaves_nothing(tmp_path: Path, postgresql_url: str) -> None:
    """An import whose last line is wrong, or repeats what is there, stores nothing."""
    with open_storage(tmp_path / "first") as tweets:
        post(tweets)
    done(tmp_path / "first", "export", tmp_path / "one.jsonl")
    line = (tmp_path / "one.jsonl").read_bytes()
    data_dir = tmp_path / "second"
    assert "line 2" in refused(data_dir, "import", "-", given=line + b"{}\n", DATABASE_URL=postgresql_url)
    assert done(data_dir, "export", DATABASE_URL=postgresql_url) == b""
    done(data_dir, "import", "-", given=line, DATABASE_URL=postgresql_url)
    assert "line 1" in refused(data_dir, "import", "-", given=line, DATABASE_URL=postgresql_url)
    assert done(data_dir, "export", DATABASE_URL=postgresql_url) == line


def test_serve(tmp_path: Path, postgresql: PostgreSQL, postgresql_url: str) -> None:
    """A service on PostgreSQL posts, counts, says that the server is away, and goes on when it is back."""
    with serving(tmp_path, DATABASE_URL=postgresql_url) as service:
        root = service.post("/api/v1/tweet", user_name="ann", title="Title", body="Body")["id"]
        service.post("/api/v1/retweet", user_name="bob", retweet=root)
        assert service.get(f"/api/v1/tweet/{root}")["count_retweet"] == 1
        postgresql.crash()
        postgresql.start()
        service.post("/api/v1/retweet", user_name="bob", retweet=root)
        assert service.get(f"/api/v1/tweet/{root}")["count_retweet"] == 2
        assert service.get("/readyz")
        assert service.end() == 0
    assert nothing_runs(tmp_path)
