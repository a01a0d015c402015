"""The command line: a module for each group of commands. A command parses, calls and prints; storage does the work."""
