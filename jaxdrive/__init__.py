"""jaxdrive trains cars to drive from recordings: one network, several heads, each on its own data."""

__version__ = "0.1.0"
