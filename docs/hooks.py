"""Pages that are made when the documentation is built: README.md as the first one, and the tutorial, run."""

from html import escape
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Terminal colours within what cells print.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add index.md, with links as seen from docs/, and tutorial.md."""
    readme = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    tutorial = Path(config.docs_dir) / "tutorial.ipynb"
    files.append(File.generated(config, "tutorial.md", content=_page(tutorial)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead to the page of the tutorial; in the repository links lead to the notebook."""
    return (
        markdown
        if page.file.src_uri == "tutorial.md"
        else markdown.replace("(tutorial.ipynb)", "(tutorial.md)")
    )


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add the help of every command, as it is now, to the page of the command line."""
    return html + _helps() if page.file.src_uri == "command_line.md" else html


def _helps() -> str:
    from earmark.cli import main

    parts = []

    def add(command: click.Command, parent: click.Context | None, name: str) -> None:
        context = click.Context(command, parent=parent, info_name=name, max_content_width=100)
        path = context.command_path
        parts.append(
            f'<h2 id="{path.replace(" ", "-")}">{path}</h2><pre>{escape(command.get_help(context))}</pre>'
        )
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                found = command.get_command(context, below)
                assert found is not None
                add(found, context, below)

    add(main, None, "earmark")
    return "\n".join(parts)


def _page(path: Path) -> str:
    """A notebook as Markdown with what its cells answer. A cell that fails ends the build."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    # Of the runtime: it sends nothing anywhere.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts += [f"```python\n{cell.source}\n```", *map(_output, cell.outputs)]
    return "\n\n".join([*parts, f"[This page as a notebook]({path.name})", ""])


def _output(output: Any) -> str:
    """An answer: HTML and pictures as they are, text as text."""
    data = output.get("data", {})
    if "text/html" in data:
        return f"<div>{data['text/html']}</div>"
    if "image/png" in data:
        return f'<p><img alt="plot" src="data:image/png;base64,{data["image/png"].strip()}"></p>'
    text = output.get("text") or data.get("text/plain", "")
    return f"<pre>{escape(_ESCAPES.sub('', text))}</pre>"
