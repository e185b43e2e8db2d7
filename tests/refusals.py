"""What earmark refuses: an error by name, of one line."""

import pytest


def refuses(kind, says, call, *arguments, **options):
    """`call` with these raises an error of that kind, in one line that fits the pattern `says`; the line."""
    with pytest.raises(kind, match=says) as caught:
        call(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line, line
    return line
