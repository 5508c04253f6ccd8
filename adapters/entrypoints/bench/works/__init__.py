"""The works of a run, in their order. A work is one module with a coroutine that takes the Stage and returns Findings."""
