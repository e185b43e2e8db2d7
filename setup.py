"""What pyproject.toml cannot say: the long description is README.md without links that lead nowhere.

An index page and installed metadata have no files beside them. So pictures of the repository are left
out there, and links to its pages become their text. Everything else about the package is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
without_pictures = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", readme, flags=re.MULTILINE)
without_links = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", without_pictures)

setup(
    script_name="setup.py",  # so that this file, which lies in the package's folder, is no module of it
    long_description=without_links,
    long_description_content_type="text/markdown",
)
