"""jaxdrive trains cars to drive from recordings: one network, several balanced heads."""

__version__ = "0.1.0"
