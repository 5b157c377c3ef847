"""Access tokens: JWTs that name an app, made here and checked here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from graph_simulator.app_registrations import App


class TokenRefused(Exception):
    """A token that opens nothing; the text says why."""


class Tokens:
    """Makes and checks tokens.

    Args:
        tenant: what `tid` must say.
        accepted_keys: keys of other token services whose tokens are good as well (HS256).
    """

    def __init__(self, tenant: str, accepted_keys: Sequence[bytes]) -> None:
        self._tenant = tenant
        self._key = secrets.token_bytes(32)
        self._keys = (self._key, *accepted_keys)
        self._revoked: set[str] = set()
        self._known: set[str] = set()

    def issue(self, app: App, audience: str, lifetime: float) -> str:
        """A token for `audience` that is good for so many seconds; a negative number gives one that has expired."""
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
        self._known.add(token)
        return token

    def revoke(self) -> None:
        """Every token that was issued or used so far is refused from now on."""
        self._revoked |= self._known
        self._known.clear()

    def app_of(self, token: str, audience: str, apps: Mapping[str, App]) -> App:
        """The app that a token names.

        Raises:
            TokenRefused: badly signed, expired, revoked, for something else, or of an unknown app.
        """
        claims = self._claims(token)
        if token in self._revoked:
            raise TokenRefused("Continuous access evaluation resulted in challenge.")
        if claims.get("aud") != audience:
            raise TokenRefused("Access token validation failure. Invalid audience.")
        if claims.get("tid", self._tenant) != self._tenant:
            raise TokenRefused("Access token validation failure. Invalid tenant.")
        app = apps.get(str(claims.get("appid")))
        if app is None:
            raise TokenRefused("The identity of the calling application could not be established.")
        self._known.add(token)
        return app

    def _claims(self, token: str) -> dict[str, Any]:
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
