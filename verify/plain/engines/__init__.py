"""The engines: one technique each, its paper at the top, all behind ``provenet.verify.plain.answer.Engine``."""
