"""`emg-sessions bench`: this program beside its peers, in one run, on one machine, on real servers, with the same documents for everybody.

A run is a list of works (works/). Each gets the Stage: servers, documents and the pace; it times its ways of doing one thing (method.py)
and returns Findings: tables, curves, and what was asked of the project, with yes or no (figures.py). How each peer is set up stands in
peers/, one small module each. The peers are of the extra `bench`, so nothing here is imported before the command runs.
"""
