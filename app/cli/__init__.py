"""The command line: one module for each group of verbs. A verb parses, calls and prints; storage does the work."""
