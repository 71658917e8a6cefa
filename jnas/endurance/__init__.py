"""Trials that a run must survive: killed, signalled, damaged, raced, out of room."""
