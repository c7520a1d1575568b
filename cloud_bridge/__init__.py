"""Everything that crosses the network: wire formats, clients on the device, the endpoint in the cloud."""

import logging

# A library says nothing on its own: what happens is told by errors and results, and logged for who configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
