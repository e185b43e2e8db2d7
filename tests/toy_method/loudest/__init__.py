"""A method for tests: the loudest frames. This folder and one line in the table are all of it."""
