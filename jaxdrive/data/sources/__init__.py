"""Readers of recordings, one file per origin: settings -> sessions of frames.

Each offers settings(config.data), what decides its frames; sessions(config.data); and
remedy(split), what to do where a split is empty.
"""
