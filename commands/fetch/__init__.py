"""Links to a dump in the central store: for those who may, for a time, for one copy, each fetch told."""
