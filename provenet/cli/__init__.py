"""The command line, `provenet verify` and its kin: it reads arguments, calls the layers below, and prints."""
