"""Everything that touches the world: each package drives or is driven by one technology. None of the driven ones knows another."""
