"""Whether the nearest prototypes are evidence, and channels pure."""
