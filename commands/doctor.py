"""`earmark doctor`: what this machine can run, and what stands in the way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import click

from ..errors import EarmarkError, MissingDependencyError
from .console import green, red, say, say_json
from .options import examples, json_option

# Builds of onnxruntime overwrite each other's files: at most one may be installed.
RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-training",
)
# Providers that are no device to be tried.
_NO_DEVICE = ("CPUExecutionProvider", "AzureExecutionProvider")
# MiB that CUDA's own context and a small model take.
_LEAST_MIB = 1024
BASE = ("numpy", "scipy", "soundfile", "soxr", "faiss-cpu", "onnx", "msgspec", "pillow", "click")
EXPORT = ("torch", "onnxscript", "safetensors", "scikit-learn", "matplotlib", "PyYAML")


@dataclass(frozen=True)
class Finding:
    """One line of the report; only a "problem" makes the command fail."""

    topic: str
    state: Literal["ok", "note", "problem"]
    text: str


@click.command(epilog=examples("earmark doctor"))
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine can run, and what stands in the way.

    Exits with 1 when something needs mending.
    """
    findings = list(_examine())
    if as_json:
        say_json({"findings": [asdict(finding) for finding in findings]}, indent=2)
    else:
        marks = {"ok": green("ok"), "note": "--", "problem": red("!!")}
        for finding in findings:
            say(f"{marks[finding.state]}  {finding.topic:<12} {finding.text}")
    if any(finding.state == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def _examine() -> Iterator[Finding]:
    """Every check, in the order of what depends on what."""
    from .. import __version__

    yield Finding(
        "earmark", "ok", f"{__version__} on Python {platform.python_version()}, {platform.machine()}"
    )
    yield from _packages("packages", BASE, "problem", 'pip install "earmark[cpu]"')
    yield from _onnxruntime()
    yield from _packages("export", EXPORT, "note", 'for train and export: pip install "earmark[export]"')
    yield from _fonts()
    yield from _shipped_bundle()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(
    topic: str, names: tuple[str, ...], absent: Literal["note", "problem"], mend: str
) -> Iterator[Finding]:
    versions = {name: _version(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    # faiss may come from conda under another distribution name.
    if "faiss-cpu" in missing and importlib.util.find_spec("faiss"):
        missing.remove("faiss-cpu")
    if missing:
        yield Finding(topic, absent, f"not installed: {', '.join(missing)} ({mend})")
    present = [f"{name} {version}" for name, version in versions.items() if version]
    if present:
        yield Finding(topic, "ok", ", ".join(present))


def _onnxruntime() -> Iterator[Finding]:
    installed = [f"{name} {version}" for name in RUNTIMES if (version := _version(name))]
    if importlib.util.find_spec("onnxruntime") is None:
        yield Finding(
            "onnxruntime", "problem", 'not installed: pip install "earmark[cpu]" or "earmark[gpu]", not both'
        )
        return
    if len(installed) > 1:
        yield Finding(
            "onnxruntime",
            "problem",
            f"{' and '.join(installed)} overwrite each other: uninstall both, then install one",
        )
    from ..runtime.inference.onnx_runtime import TELEMETRY, import_onnxruntime

    try:
        onnxruntime = import_onnxruntime()
    except MissingDependencyError as error:
        yield Finding("onnxruntime", "problem", str(error))
        return
    providers = onnxruntime.get_available_providers()
    yield Finding(
        "onnxruntime", "ok", f"{onnxruntime.__version__} ({', '.join(installed) or 'vendor build'})"
    )
    # onnxruntime takes any value but these for yes.
    value = os.environ[TELEMETRY]
    off = value not in {"", "0"}
    yield Finding(
        "telemetry",
        "ok" if off else "note",
        f"onnxruntime's is {'off' if off else 'on'} ({TELEMETRY}={value})",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("devices", "ok", f"cpu, {cores} cores; built with {', '.join(providers)}")
    yield from _cards(gpu_build="CUDAExecutionProvider" in providers)
    for provider in providers:
        if provider not in _NO_DEVICE:
            yield _tried(provider)


def _cards(*, gpu_build: bool) -> Iterator[Finding]:
    """The NVIDIA GPUs that the driver shows."""
    from ..runtime.inference.nvidia import graphics_cards

    for number, card in enumerate(graphics_cards()):
        memory = f"{card.free_mib} of {card.total_mib} MiB free"
        text = f"cuda:{number} is {card.name}, driver {card.driver}, {memory}"
        if not gpu_build:
            yield Finding("gpu", "note", f'{text}; to use it: pip install "earmark[gpu]" without onnxruntime')
        elif card.free_mib < _LEAST_MIB:
            yield Finding(
                "gpu", "problem", f"{text}: too little for a model; see nvidia-smi for who holds it"
            )
        else:
            yield Finding("gpu", "ok", text)


def _tried(provider: str) -> Finding:
    """Whether the provider can run a graph of the shipped bundle."""
    from ..runtime.explainer import SHIPPED
    from ..runtime.inference.activation import activate
    from ..runtime.inference.devices import DeviceRequest

    request = DeviceRequest.of(providers=[provider])
    try:
        activate(SHIPPED / "frontend.onnx", request.choose("doctor"), request)
    except EarmarkError as error:
        return Finding("devices", "problem" if provider == "CUDAExecutionProvider" else "note", str(error))
    return Finding("devices", "ok", f"{provider} runs graphs here")


def _fonts() -> Iterator[Finding]:
    """Which scripts have no font here, so that pictures spell their letters out."""
    if importlib.util.find_spec("PIL") is None:
        return
    from ..runtime.drawing.lettering import scripts_without_font

    missing = scripts_without_font()
    if missing:
        fonts = ", ".join(dict.fromkeys(missing.values()))
        yield Finding(
            "fonts", "note", f"pictures spell out {', '.join(missing)}; fonts that would help: {fonts}"
        )
    else:
        yield Finding("fonts", "ok", "every script that is looked for has one")


def _shipped_bundle() -> Iterator[Finding]:
    from ..runtime.explainer import engine_of, load

    named = os.environ.get("EARMARK_BUNDLE")
    try:
        manifest = engine_of(load(device="cpu")).manifest
    except EarmarkError as error:
        yield Finding("bundle", "problem", str(error))
        return
    origin = "EARMARK_BUNDLE" if named else "shipped"
    methods = ", ".join(manifest.explainers)
    yield Finding("bundle", "ok", f"{origin}: {manifest.name}, {len(manifest.labels)} labels, {methods}")
