"""Search on SQLite: a query becomes sets of resources, the sets become one statement a page."""
