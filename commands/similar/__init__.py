"""Which panics are like one: those of its signature, then those that are near it, with why."""
