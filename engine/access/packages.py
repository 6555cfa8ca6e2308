"""What the extra ``provenet[access]`` brings, loaded when it is needed."""

from __future__ import annotations

from typing import Any

from provenet.engine.errors import EngineError


def jwt_package() -> Any:
    """PyJWT, with the package that it signs with.

    Raises:
        EngineError: One of them is not installed.
    """
    try:
        import cryptography
        import jwt
    except ImportError as error:
        raise EngineError(
            f"signed tokens need a package that is not installed: {error.name}",
            hint="pip install 'provenet[access]'",
        ) from None
    del cryptography
    return jwt
