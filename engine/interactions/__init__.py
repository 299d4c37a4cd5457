"""Interactions of the RESTful API as changes of a store, free of HTTP and of any backend."""
