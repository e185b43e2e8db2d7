"""Front ends of classifiers that take features: described, built as graphs, checked. Never torch."""
