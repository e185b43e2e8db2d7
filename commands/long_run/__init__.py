"""Long runs over many recordings: ledger and resuming, worker processes, quarantine, progress."""
