"""Readers of recordings, one file per origin: settings -> sessions of frames.

Each offers find(config.data), what there is, no picture opened; settings(config.data, found), what
decides its frames; sessions(config.data, found); and remedy(split), what to do where a split is
empty.
"""
