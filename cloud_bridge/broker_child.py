"""What runs in the broker's process: it sees to it that the broker does not outlive its parent, then becomes the broker.

Standard input is a pipe that the parent holds and never writes to: it ends when the parent ends, even by SIGKILL.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

# One message is handed from publisher to subscriber while the next is read, and both are dropped when a segment is: big
# segments keep gigabytes of old tensors, small ones keep what is on its way.
_SEGMENT = 1 << 20


def main() -> None:
    options = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options["kind"] == "mosquitto":
        _become_mosquitto(options)
    _run_iotcore(options)


def mosquitto_config(host: str, port: int, max_packet: int, inflight: int, queued: int) -> str:
    """mosquitto.conf of a broker without users on loopback."""
    return "\n".join(
        (
            f"listener {port} {host}",
            "allow_anonymous true",
            "set_tcp_nodelay true",  # without it a small packet waits for the peer's delayed ACK, 40 ms
            "persistence false",
            f"max_packet_size {max_packet}",
            f"max_inflight_messages {inflight}",
            f"max_queued_messages {queued}",  # 0, for no limit, dropped everything in some releases
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "",
        )
    )


def iotcore_config(host: str, port: int, max_packet: int) -> str:
    """rumqttd.toml of a broker without users on loopback, MQTT 5 only."""
    address = f"[{host}]:{port}" if ":" in host else f"{'127.0.0.1' if host == 'localhost' else host}:{port}"
    return f"""
id = 0
[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = {_SEGMENT}
max_segment_count = 2
[v5.1]
name = "v5"
listen = "{address}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = {max_packet}
max_inflight_count = 100
"""


def _become_mosquitto(options: dict[str, Any]) -> NoReturn:
    _fork_watcher()
    wanted = (options[name] for name in ("host", "port", "max_packet", "inflight", "queued"))
    config = tempfile.TemporaryFile()  # noqa: SIM115 - open, and without a name, for the broker; 2.1 reads no pipe
    config.write(mosquitto_config(*wanted).encode())
    config.seek(0)
    os.set_inheritable(config.fileno(), True)
    os.execv(options["program"], ["mosquitto", "-c", f"/dev/fd/{config.fileno()}"])  # noqa: S606 - the path that `find` gave


def _fork_watcher() -> None:
    """Leave a process behind that kills this one, whatever it becomes, when standard input ends."""
    broker = os.getpid()
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)  # the parent reads the broker's log to its end
    while os.getppid() == broker:
        if select.select([0], [], [], 1.0)[0]:
            if os.getppid() == broker:
                os.kill(broker, signal.SIGKILL)
            break
    os._exit(0)


def _run_iotcore(options: dict[str, Any]) -> None:
    # rumqttd reports the routing of every message as an error; formatting that costs more than the routing.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    from iotcore.iotcore import IotCoreBroker  # Broker would start one more process

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "rumqttd.toml")
        config.write_text(iotcore_config(options["host"], options["port"], options["max_packet"]))
        broker = IotCoreBroker(config_path=str(config))  # reads it here
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    broker.check_ports()
    broker.run_forever()


def _end_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    main()
