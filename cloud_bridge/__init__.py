"""Everything that crosses the network: wire formats, clients on the device, the endpoint in the cloud."""
