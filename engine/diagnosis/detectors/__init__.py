"""The twelve signatures, one file each pattern."""
