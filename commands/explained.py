"""Which sounds `earmark explain -o DIR` has explained, so that a run that was stopped can be continued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import EarmarkError
from ..prototypes_index.durability import sync_tree
from ..runtime.result_files.folder import RECORD
from .console import tell
from .inputs import Input
from .long_run.ledger import Ledger, RunFacts, open_ledger, state_of

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from .report_pages import ExplanationPage


class Explained:
    """The sounds that are done; below: the folder of each result in that of its sound."""

    def __init__(self, ledger: Ledger, output: Path, below: Sequence[str]) -> None:
        self._ledger, self._output, self._below = ledger, output, below
        self._skipped = self._failed = 0

    def skip(self, item: Input, page: ExplanationPage | None) -> bool:
        """Whether an earlier run has explained the sound as it is now, or found it of no use.

        What it wrote must still be there. A page shows what it said; where it kept nothing for one, the sound
        has to be explained again.
        """
        state = state_of(item)
        if not self._ledger.has(*state):
            return False
        entry = self._ledger.get(state.path)
        if entry is not None and entry.status == "done" and not self._holds(self._output / entry.folder):
            return False
        if page is not None and entry is not None and not page.again(item.name, entry):
            return False
        self._failed += entry is not None and entry.status != "done"
        self._skipped += 1
        return True

    def done(self, item: Input, folder: Path, seconds: float) -> None:
        """Note that a sound is explained; its result is on the disk before. Raises WriteError."""
        sync_tree(folder)
        self._note(item, folder=folder.relative_to(self._output).as_posix(), status="done", seconds=seconds)

    def failed(self, item: Input, error: EarmarkError) -> None:
        """Note that a sound cannot be explained. Raises WriteError."""
        self._note(item, status="failed", error_type=type(error).__name__, error=str(error))

    def close(self) -> int:
        """Say how many were skipped; gives how many of those had failed."""
        if self._skipped:
            failed = f", {self._failed} of which had failed" if self._failed else ""
            tell(f"{self._skipped} sounds were done before{failed}")
        return self._failed

    def _holds(self, folder: Path) -> bool:
        """Whether every result of a sound lies in its folder."""
        return all((folder / name / RECORD).is_file() for name in self._below)

    def _note(self, item: Input, **more: Any) -> None:
        self._ledger.append(state_of(item).entry(item.name, **more))


@contextmanager
def explained(
    output: Path, manifest: Manifest, settings: Mapping[str, Any], below: Sequence[str], *, resume: bool
) -> Iterator[Explained]:
    """What a run into `output` has done; without `resume` it begins anew.

    Raises RunError where the folder is of another run, WriteError, BusyError.
    """
    facts = RunFacts("explain", manifest.name, manifest.bundle_id, dict(settings), __version__)
    with open_ledger(output, facts, resume=resume, anew=not resume) as ledger:
        yield Explained(ledger, output, below)
