"""Adapters to other libraries, a module for each: it is imported by its own name and loads that library only."""
