"""A small OpenID Connect provider: a real HTTP server with discovery, the code flow
with PKCE, signed id tokens and user info. Whoever comes is the one user it knows."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "switchyard", "of the client"


class OidcProvider:
    """What the server knows; tests change `claims` and read what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.claims: dict[str, Any] = {
            "sub": "ann-1",
            "preferred_username": "ann",
            "email": "ann@example.org",
            "email_verified": True,
            "name": "Ann Example",
        }
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked: dict[str, dict[str, str]] = {}  # by code

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        assert query["client_id"] == CLIENT_ID
        code = secrets.token_urlsafe(16)
        self.asked[code] = query
        answer = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{answer}"

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        """Raises for a wrong code, secret or verifier, as a provider refuses them."""
        asked = self.asked.pop(form["code"])
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        assert challenge == asked["code_challenge"]
        assert form["client_secret"] == CLIENT_SECRET
        claims = {
            **self.claims,
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
        }
        id_token = jwt.encode(claims, self.key, "RS256", headers={"kid": "1"})
        return {
            "access_token": "access",
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": id_token,
        }

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]}


class _Handler(BaseHTTPRequestHandler):
    provider: OidcProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                self._json(self.provider.discovery())
            case "/jwks":
                self._json(self.provider.jwks())
            case "/userinfo":
                self._json(self.provider.claims)
            case "/authorize":
                where = self.provider.authorize(_flat(parts.query))
                self.send_response(302)
                self.send_header("Location", where)
                self.end_headers()
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        try:
            answer = self.provider.token(_flat(self.rfile.read(length).decode()))
        except (AssertionError, KeyError):
            self.send_error(400)
        else:
            self._json(answer)

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


@contextmanager
def running_oidc_provider() -> Iterator[OidcProvider]:
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        provider = OidcProvider(f"http://127.0.0.1:{server.server_address[1]}")
        handler.provider = provider
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
