"""The files of a result: which are its own, how they are replaced, and arrays read without trust."""
