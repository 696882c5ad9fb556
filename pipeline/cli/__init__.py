"""The command line: words in, exit codes and messages out."""
