"""What components cost on top of classifying: interleaved, one process, medians.

    python benchmarks/components_cost.py CLIP [--bundle BUNDLE]... [--cnn14 compact reference] [--repeats 60]

Bundles are measured as they are. For Cnn14 its classifier with random weights, which cost what trained ones
cost, gets an interpreter of 100 spectra, the compact one or the recipe's own layers. Each repeat
classifies the clip from memory at the model's rate, explains it by components, explains it and makes the kept
sound (which nobody pays for who does not listen), and explains it by mask where there is one. Where other
work runs on the machine, processor time says more than the clock.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measuring import options_of, print_costs

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.runtime.explainer import Explainer, engine_of

COMPONENTS = 100


def main() -> None:
    """Run and print."""
    parser = options_of(__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--cnn14", nargs="*", choices=["compact", "reference"], default=[])
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = [cnn14_bundle(Path(folder), kind) for kind in options.cnn14]
        for path in [*options.bundle, *made]:
            with earmark.load(path, device="cpu") as explainer:
                measure(path.name, explainer, options.clip, options.repeats)


def measure(name: str, explainer: Explainer, clip: Path, repeats: int) -> None:
    """Print the bundle's rows."""
    rate = engine_of(explainer).manifest.sample_rate
    sound = (load_sound(clip, rate), rate)
    ways: dict[str, Callable[[], Any]] = {
        "classify": lambda: explainer.explain(sound, methods=[]),
        "components": lambda: explainer.explain(sound, methods=["components"]),
        "components, heard": lambda: explainer.explain(sound, methods=["components"]).components.audio,
    }
    if engine_of(explainer).manifest.stage("decoder") is not None:
        ways["mask"] = lambda: explainer.explain(sound, methods=["mask"])
    print_costs(name, ways, repeats)


def cnn14_bundle(folder: Path, architecture: str) -> Path:
    """A bundle of a Cnn14 with an interpreter, random weights, in `folder`."""
    import recipe
    import torch

    from earmark.export.bundle.write import write_bundle
    from earmark.export.models.component_facts import component_facts
    from earmark.export.source.source import without_decoder
    from earmark.export.sources import resolve
    from earmark.export.training.forms import interpreter_form
    from earmark.runtime.bundle.manifest import ComponentsSpec

    source = without_decoder(resolve(str(recipe.write(folder / f"recipe-{architecture}"))))
    form = interpreter_form(source, COMPONENTS, architecture)
    torch.manual_seed(0)
    interpreter = form.build().eval()
    bins = source.analysis.n_fft // 2 + 1
    spectra = np.random.default_rng(0).random((bins, COMPONENTS), np.float32)
    columns = np.tile(spectra / np.linalg.norm(spectra, axis=0), form.components // COMPONENTS)
    interpreter.set_dictionary(torch.from_numpy(columns), torch.ones(form.components))
    theta = interpreter.weight.detach().numpy().astype(np.float32)
    frame = source.analysis.hop / source.sample_rate
    facts = component_facts(
        columns, theta, source.labels, sample_rate=source.sample_rate, frame_seconds=frame
    )
    spec = ComponentsSpec(
        count=form.components,
        sample_rate=source.sample_rate,
        analysis=source.analysis,
        threshold=0.2,
        components=facts,
    )
    source = replace(
        source,
        interpreter=interpreter,
        interpreter_taps=form.inputs,
        components=spec,
        dictionary={"dictionary": columns, "theta": theta},
    )
    path = folder / f"Cnn14, {architecture}"
    write_bundle(source, path)
    return path


if __name__ == "__main__":
    main()
