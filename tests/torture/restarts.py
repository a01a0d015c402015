"""Rolling restarts of two copies with four workers each, behind nginx, while clients write."""

import shutil
import time
from pathlib import Path

from tests.e2e.test_rolling_restart import restart_copies
from tests.torture.report import Row

TARGET = 20


def run(_seed: int, restarts: int, folder: Path) -> Row:
    """Restart so often; lost is what was not answered by the service itself."""
    began = time.monotonic()
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert nginx, "there is no nginx; tests/install_system_packages.sh installs it"
    (folder / "restarts").mkdir()
    statuses = restart_copies(nginx, folder / "restarts", workers=4, restarts=restarts).statuses
    lost = sum(number for status, number in statuses.items() if status not in (201, 204, 404, 410))
    done = f"{restarts} restarts, {sum(statuses.values()):,} writes"
    met = True if restarts >= TARGET else None
    return Row("restarts", done, lost, 0, 0, time.monotonic() - began, f"{TARGET} restarts", met)
