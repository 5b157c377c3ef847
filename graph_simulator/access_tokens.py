"""Access tokens: JWTs that name an app, issued and verified by the simulator."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from graph_simulator.app_registrations import App


class TokenRefused(Exception):
    """The token is not valid; the text says why."""


class AccessTokens:
    """An issuer and verifier of tokens.

    Args:
        tenant: the tenant id that the claim `tid` must have.
        accepted_keys: HS256 keys of other token services whose tokens are accepted too.
    """

    def __init__(self, tenant: str, accepted_keys: Sequence[bytes]) -> None:
        self._tenant = tenant
        self._key = secrets.token_bytes(32)
        self._keys = (self._key, *accepted_keys)
        self._revoked: set[str] = set()
        self._seen: set[str] = set()

    def issue(self, app: App, audience: str, lifetime: float) -> str:
        """Return a token for `audience` with a lifetime in seconds; a negative lifetime gives an expired token."""
        now = time.time()
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self._tenant}/",
            "iat": int(min(now, now + lifetime)),
            "exp": int(now + lifetime),
            "appid": app.client_id,
            "roles": sorted(app.permissions),
            "tid": self._tenant,
            "jti": secrets.token_hex(8),
        }
        token = jwt.encode(claims, self._key, algorithm="HS256")
        self._seen.add(token)
        return token

    def revoke(self) -> None:
        """Refuse every token that was issued or used so far."""
        self._revoked |= self._seen
        self._seen.clear()

    def verify(self, token: str, audience: str, apps: Mapping[str, App]) -> App:
        """Return the app that a token names.

        Raises:
            TokenRefused: the signature, lifetime, audience, tenant or app is wrong, or the token was revoked.
        """
        claims = self._decode(token)
        if token in self._revoked:
            raise TokenRefused("Continuous access evaluation resulted in challenge.")
        if claims.get("aud") != audience:
            raise TokenRefused("Access token validation failure. Invalid audience.")
        if claims.get("tid", self._tenant) != self._tenant:
            raise TokenRefused("Access token validation failure. Invalid tenant.")
        app = apps.get(str(claims.get("appid")))
        if app is None:
            raise TokenRefused("The identity of the calling application could not be established.")
        self._seen.add(token)
        return app

    def _decode(self, token: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                options: Any = {"verify_aud": False, "require": ["exp"]}
                return dict(jwt.decode(token, key, algorithms=["HS256"], options=options))
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise TokenRefused("Lifetime validation failed, the token is expired.") from None
            except jwt.InvalidTokenError as error:
                raise TokenRefused(f"IDX14100: JWT is not well formed. {error}") from None
        raise TokenRefused("Access token validation failure. Invalid signature.")
