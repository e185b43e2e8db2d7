"""The listening report: one HTML file that shows an explanation and plays it, offline."""
