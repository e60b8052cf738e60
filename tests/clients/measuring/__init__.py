"""Measures what a client does with a tracker's answers; `tests/clients/measure` is its command."""
