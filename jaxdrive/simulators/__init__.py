"""Simulators to record and to drive in, and their experts; imports nothing else of jaxdrive."""
