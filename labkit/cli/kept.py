"""The last whole grading of a folder, kept in it: `lab list` tells from it how far its owner is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from labkit.result import Result

_FOLDER = ".labkit"
_FILE = "last.json"


def keep(result: Result, folder: Path) -> None:
    """Write the result to `.labkit/last.json`, a place of the kit's own that git does not see.

    Where that is not possible nothing is kept: the grading itself is done.
    """
    place = folder / _FOLDER
    if place.is_symlink():
        # The folder may be a stranger's: nothing is written where a link of theirs leads.
        return
    try:
        place.mkdir(exist_ok=True)
        (place / ".gitignore").write_text("*\n", encoding="utf-8")
        fresh = place / f"{_FILE}.{os.getpid()}"
        result.write(fresh)
        fresh.replace(place / _FILE)
    except OSError:
        return


def kept(folder: Path) -> Iterator[tuple[Path, Result]]:
    """Results kept in `folder` and in the folders right in it; what cannot be read is left out."""
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    for candidate in candidates:
        try:
            yield candidate, Result.from_json((candidate / _FOLDER / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            continue
