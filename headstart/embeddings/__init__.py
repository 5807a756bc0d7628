"""Vectors at rest: keyed by content, kept once, lined up with a catalogue."""
