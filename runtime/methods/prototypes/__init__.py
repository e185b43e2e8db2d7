"""APEX: the nearest training sounds in four views."""
