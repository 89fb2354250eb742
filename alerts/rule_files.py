"""The rules file on disk: read at the start, and again whenever it changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from alerts.rules import RulesError, RuleSet, parse_rules

DEFAULT_RULES = Path(__file__).parent / "default_rules.yml"

_log = logging.getLogger(__name__)


def read_rules(path: Path) -> RuleSet:
    """The rules of a file. Raises RulesError, also where the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RulesError(str(path), ("it is not UTF-8 text",)) from error
    except OSError as error:
        raise RulesError(str(path), (f"it cannot be read ({error.strerror})",)) from error
    return parse_rules(text, str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """What tells one content of a file from another without reading it."""

    modified_ns: int
    size: int
    inode: int


class WatchedRules:
    """The rules in force. A file that turned bad, or is gone, leaves them as they were; ``problem`` says why."""

    def __init__(self, path: Path, *, required: bool = False) -> None:
        """Raises RulesError for a bad file, and for a missing one where it is ``required``."""
        self._path = path
        self._stamp = _stamp_of(path)
        self.problem = ""
        self.rules = read_rules(path if required or self._stamp else DEFAULT_RULES)

    def reload(self) -> bool:
        """Reads the file again if it changed; whether other rules are in force now."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        if stamp is None:
            return self._keep(f"{self._path}: it is gone")
        try:
            rules = read_rules(self._path)
        except RulesError as error:
            return self._keep(str(error))
        self.rules, self.problem = rules, ""
        _log.info("Rules read again from %s: %d rules.", self._path, len(rules.rules))
        return True

    def _keep(self, problem: str) -> bool:
        self.problem = problem
        _log.error("%s. The rules that were in force stay so.", problem.rstrip("."))
        return False


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(modified_ns=found.st_mtime_ns, size=found.st_size, inode=found.st_ino)
