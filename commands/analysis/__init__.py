"""The analysis of a dump: debug information found, the dump read in a process with limits, a report in the thread."""
