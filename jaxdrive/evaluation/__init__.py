"""What a checkpoint and a dataset are worth: offline evaluation, inspection and the report."""
