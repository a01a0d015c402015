# The part of waitress 3.0 that is used here, typed; waitress ships no types of its own.
