class Adjustments:
    backlog: int
