"""A first profile for somebody's own data: measure annotations and machine, propose numbers, write them and why."""
