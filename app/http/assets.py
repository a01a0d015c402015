"""
Static files, served from memory: what was not in the folder at the start has no address, so no path leads out of it.

An address carries the hash of the content, so a browser keeps the file for ever and a new version has a new address.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The types of what is served; licences and notes lie in the folder too, as plain text."""

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file: its content, its media type, and the start of its SHA-256."""

    body: bytes
    media_type: str
    version: str

    def cache_control(self, query: str) -> str:
        """How long a browser may keep it, when it asked with *query*: for ever when that names what it got."""
        return _FOR_EVER if query == f"v={self.version}" else _ASK_FIRST


class Assets:
    """The static files of *folder*, each known by its path inside it."""

    def __init__(self, folder: Path) -> None:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self._assets = {path.relative_to(folder).as_posix(): _load(path) for path in files}

    def find_asset(self, name: str) -> Asset | None:
        """The file at *name*, such as "page.css"."""
        return self._assets.get(name)

    def address_of(self, name: str) -> str:
        """The path and query under which *name* is served. Raises KeyError when there is no such file."""
        return f"/static/{name}?v={self._assets[name].version}"


def _load(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix, "text/plain; charset=utf-8")
    return Asset(body, media_type, sha256(body).hexdigest()[:16])
