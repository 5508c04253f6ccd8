"""Traces of what was done as part of what: for a collector, or for nobody."""
