"""What can be chosen: every option once, with its type, limits and help, and how a command line is read."""
