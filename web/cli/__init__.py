"""The commands, one module each. They raise engine errors and return exit statuses."""
