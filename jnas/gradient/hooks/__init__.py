"""Calls at ends of epochs, which may change the state of a search or end it."""
