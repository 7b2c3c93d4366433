"""Faults on purpose: what sweeps leave behind when they are killed, run out of space or find the clock changed."""
