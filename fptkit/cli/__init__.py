"""The command line. Each command is a module, imported when it is used: ``fptkit list`` never loads torch."""
