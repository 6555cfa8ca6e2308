"""The separate checker: re-checks certificates from the net alone.

It reads the net (``provenet.nets``) and a certificate, works out by itself what must be shown, writes each
obligation as plain SMT-LIB text and has a bare solver refuse it, or goes through the numbers. It imports
nothing else of ``provenet.verify``, which a contract in ``pyproject.toml`` enforces: an error in the engines
that found a proof is not one of this checker's, too.

Start reading at ``check.py``. ``claims.py`` says what each property asks, ``smtlib.py`` is the encoder.
"""
