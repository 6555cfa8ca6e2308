"""Durable execution of proved nets: cases, events, timers, people, and effects that happen once."""
