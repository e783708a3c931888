"""From recordings to balanced batches."""
