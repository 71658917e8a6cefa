"""Fault injection: runs that are killed, signalled, damaged, raced or out of disk."""
