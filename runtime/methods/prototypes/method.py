"""The method `prototypes`: which training sounds the evidence resembles, in four views (APEX).

For the target k, a channel's contribution is its share of the logit (EPIC, arXiv 2505.12897:
logit_k = b_k + sum_c W_kc v_c). Listed are the channels with the most, each with the training clips in
which it is strongest. Per view, the places of the input that speak most for the target
(`prototype_places`) are looked up among the places of the training sounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bundle.parts import StageRule
from ..protocol import Context, Inspection, Method, Sound, TimeTask
from .options import PrototypesOptions

if TYPE_CHECKING:
    from ...bundle.manifest import Manifest, MaskGain, StageSpec
    from ...bundle.open import Bundle
    from ...drawing.shown import Picture
    from ...inference.chain import ForwardPass, RunStage
    from ...values.arrays import Array, FloatArray
    from ..result import About
    from ..saved import SavedSounds
    from .explanation import PrototypesExplanation
    from .result import PrototypesResult


class Prototypes(Method):
    """The method over one generation of prototypes."""

    name = "prototypes"
    gives = ("prototypes", "channels", "familiarity")
    options = PrototypesOptions
    stages = (StageRule("embeddings"),)
    time_rows = ("channels", "prototypes_time")

    def available(self, manifest: Manifest) -> bool:
        """Whether it has a generation; the stage alone has none."""
        return manifest.prototypes is not None

    def check(self, manifest: Manifest, path: Path) -> None:
        """Feature map and generation are described in full and fit. Raises BundleError."""
        from .checks import check_prototypes

        check_prototypes(manifest, path)

    def examine(self, bundle: Bundle) -> None:
        """Look into the generation's graph and every row of its tables. Raises BundleError."""
        if bundle.manifest.prototypes is not None:
            # faiss takes its time to import.
            from .generation import examine_generation, open_generation

            examine_generation(open_generation(bundle.path, bundle.manifest), bundle.manifest)

    def without(self, manifest: Manifest) -> Manifest:
        """The manifest without the generation that is in force, and without the files of all."""
        import msgspec

        files = {name: one for name, one in manifest.files.items() if not name.startswith("prototypes/")}
        return msgspec.structs.replace(manifest, files=files, prototypes=None)

    def inspect(self, bundle: Bundle) -> Inspection:
        """Entries by kind, how they are searched, and how U was learnt."""
        from .inspection import inspect_prototypes

        return inspect_prototypes(bundle)

    def begin(self, context: Context, sound: Sound, target: int) -> PrototypesExplanation:
        """Raises MethodError where the bundle has no prototypes, PrototypeIndexError."""
        from .explanation import PrototypesExplanation
        from .search import Search

        return PrototypesExplanation(Search.over(context), sound, target, context.options)

    def save(self, part: PrototypesResult, folder: Path, about: About) -> None:
        """Where there is sound, write that of each prototype shown.

        It lies in the folder prototypes: <view>_<rank>.wav and channel_<channel>_<rank>.wav.
        """
        from ...audio.writing import fitting
        from ..saving import write_audio
        from .picture import SHOWN

        listed = {f"channel_{one.channel}": one.prototypes for one in part.channels}
        sounds = {
            f"{name}_{rank}": one
            for name, matches in {**part.prototypes, **listed}.items()
            for rank, one in enumerate(matches[:SHOWN], 1)
            if about.audio != "none" and one.audible
        }
        if sounds:
            (folder / "prototypes").mkdir(exist_ok=True)
        for name, one in sounds.items():
            sound, rate = one.audio()
            write_audio(folder / "prototypes" / name, sound, rate, fitting(about.format, [sound]))

    def pictures(self, part: PrototypesResult, about: About) -> Mapping[str, Picture]:
        """The nearest prototypes of each view, and the channels. Raises PrototypeIndexError."""
        from .picture import channels_sheet, nearest_sheet

        return {"prototypes": nearest_sheet(part, about), "channels": channels_sheet(part, about)}

    def fields_type(self) -> type:
        """What it adds to a record."""
        from .document import PrototypesFields

        return PrototypesFields

    def store(self, part: PrototypesResult, arrays: dict[str, Array]) -> object:
        """The prototypes and the contributions."""
        from .stored import store

        return store(part, arrays)

    def restore(self, stored: Any, arrays: Mapping[str, Array], sounds: SavedSounds) -> PrototypesResult:
        """Both again, with the crops that were saved."""
        from .stored import restore

        return restore(stored, arrays, sounds)

    def compute(
        self, run: RunStage, stages: Mapping[str, StageSpec], forward: ForwardPass, mask_gain: MaskGain
    ) -> dict[str, FloatArray]:
        """Nothing that is kept: the next generation is embedded with this graph, so it has to run."""
        run("embeddings", forward.feeds(stages["embeddings"]))
        return {}

    def verify_files(self, bundle: Bundle) -> None:
        """Look for swapped rows and sounds, and decode every sound. Raises PrototypeIndexError."""
        from .generation import verify_generation

        if bundle.manifest.prototypes is not None:
            verify_generation(bundle)

    def importance(self, row: str, task: TimeTask) -> Any:
        """Sum over places of weight times the share of the segment that the place covers.

        "channels": each channel's place, weighted by its contribution to the target's logit where that
        speaks for it; "prototypes_time": the places that the view's nearest prototypes of the target
        resemble, by cosine
        """
        from .localisation import importance_of_channels, importance_of_view

        result: Any = task.part()
        if row == "channels":
            return importance_of_channels(result, task.edges)
        label = task.graphs.manifest.labels[task.target]
        return importance_of_view(result, row.removeprefix("prototypes_"), label, task.edges)
