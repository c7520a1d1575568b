"""The endpoint's gRPC face: a server at an address, on the loop that HTTP runs on."""

from __future__ import annotations

import logging
import os
import ssl

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # anybody can make it complain on stderr, line after line

import grpc

from cloud_bridge.endpoint.access import Access
from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.grpc_face import Face
from cloud_bridge.protocol.grpc import SERVICE
from edge_runtime.errors import InputError

logging.getLogger("grpc").setLevel(logging.CRITICAL)  # nor does it tell of each client that was gone before its answer

AT_ONCE = 256
"""Calls and streams that are open at once."""


class Server:
    """The face at an address. To be made, started and stopped on one running loop."""

    def __init__(self, service: Core, host: str, port: int, access: Access) -> None:
        self._face = Face(service, access.keys)
        options = (
            ("grpc.max_receive_message_length", service.limits.body),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second endpoint would take half of the first one's calls
        )
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=AT_ONCE)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._face.methods()),))
        name = f"[{host}]" if ":" in host else host
        bound = self._bind(f"{name}:{port}", access)
        self.url = f"grpc{'s' if access.tls else ''}://{name}:{bound}"

    def _bind(self, address: str, access: Access) -> int:
        credentials = _credentials(access)
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            told = "it is in use, or none of this machine's"
            raise InputError(f"cannot listen for gRPC on {address}: {told}") from error

    async def start(self) -> None:
        """Take calls from now on."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Take no more, and let those under way end, for so many seconds."""
        self._face.stop()
        await self._server.stop(grace)


def _credentials(access: Access) -> grpc.ServerCredentials | None:
    tls = access.tls
    if tls is None:
        return None
    try:
        # Read by Python's ssl first: gRPC tells nobody what is wrong with a file.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key, password=str)
        if tls.clients is not None:
            context.load_verify_locations(tls.clients)
        pair = tls.key.read_bytes(), tls.certificate.read_bytes()
        clients = None if tls.clients is None else tls.clients.read_bytes()
    except OSError as error:  # an ssl.SSLError, too
        raise InputError(f"the TLS files cannot be used: {error}") from error
    return grpc.ssl_server_credentials([pair], clients, require_client_auth=clients is not None)
