"""HTTP: what comes in is parsed and checked, what goes out is JSON or a page. Only this folder has seen a request."""
