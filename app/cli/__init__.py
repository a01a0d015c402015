"""The command line: a module for each group of commands. A command parses, calls and prints; storage does the work."""


class CommandError(Exception):
    """A command cannot do its work; the message is one sentence for a person, and says what to do."""
