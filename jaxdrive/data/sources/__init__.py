"""Readers of recordings, one file per origin: settings -> sessions of frames."""
