"""The peers: one small module each. All store the same documents and load them from the same repository when they have none."""
