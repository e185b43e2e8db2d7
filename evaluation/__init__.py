"""Judging explanations: faithfulness, localisation, data sets, statistics. Never torch."""
