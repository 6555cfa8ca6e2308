"""The engines: one technique each, its paper at the top, all behind ``answer.Engine``."""
