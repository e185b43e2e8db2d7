"""The first page of the documentation is README.md, with its links as seen from docs/; and a live page beside it."""

import logging
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.plugins.earmark")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add index.md."""
    readme = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Write the live page of the shipped bundle, which web.md leads to; npm fetches what runs it."""
    from earmark.errors import EarmarkError
    from earmark.export.web.write import write_page
    from earmark.runtime.explainer import SHIPPED
    from earmark.runtime.opening import open_bundle

    try:
        out = Path(config.site_dir) / "live"
        write_page(open_bundle(SHIPPED), out, force=True, example=SHIPPED.with_name("example.flac"))
    except EarmarkError as error:
        log.info("the live page is left out: %s", error)
