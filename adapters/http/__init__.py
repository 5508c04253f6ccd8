"""The HTTP surface: what the system is used through. Handlers get their ports injected and decide nothing that a service can decide."""
