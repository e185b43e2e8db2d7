"""What can be exported, one file a kind."""
