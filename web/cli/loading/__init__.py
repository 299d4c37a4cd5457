"""What `penstock load` does: finds files, parses them, stores batches, reports."""
