"""Whom a client of a broker trusts, and who it is: files in PEM, read anew for the next connection where one was
replaced."""

from __future__ import annotations

import ssl

from edge_runtime.errors import InputError
from edge_runtime.whole import Stamp, stamp


class Credentials:
    """`ca` is an authority to trust in place of the system's; `cert` and `key` are this client's own, both or neither.
    Raises InputError for files that are none of that, now or at a later connection."""

    def __init__(self, ca: str | None, cert: str | None, key: str | None) -> None:
        self._ca, self._cert, self._key = ca, cert, key
        self._seen = self._look()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """For the next connection: a certificate that was renewed counts from then on."""
        if (now := self._look()) != self._seen:
            self._context = self._read()
            self._seen = now
        return self._context

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(None if path is None else stamp(path) for path in (self._ca, self._cert, self._key))

    def _read(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._ca)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"ca {self._ca!r} is no file of certificates (PEM): {error}") from error
        if self._cert is not None:
            try:
                context.load_cert_chain(self._cert, self._key)
            except (OSError, ssl.SSLError) as error:
                raise InputError(f"{self._cert} and {self._key} are no certificate and its key (PEM): {error}") from error
        return context
