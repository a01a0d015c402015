"""The service as a program: settings, HTTP, and the command line. It knows no SQL and no Redis."""
