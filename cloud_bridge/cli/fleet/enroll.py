"""`cloud-bridge fleet enroll`: certificates for a fleet, and what its broker is told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.cli.fleet.holders import DAY, ending, tell_enrolled, tell_handed, warn_of_broker, warn_of_ends
from cloud_bridge.extra import required
from cloud_bridge.protocol.topics import ROOT
from edge_runtime.cli.shell import Commands, count, subcommand, table
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.fleet.enrolment import Enrolment


def add(acts: Commands) -> None:
    """Add the act, and its own."""
    enroll = subcommand(
        acts, "enroll", "certify devices and those who run the fleet, and write what the broker is told",
        "cloud-bridge fleet enroll init fleet --broker-name broker.example\n"
        "  cloud-bridge fleet enroll add fleet press-17 press-18\n"
        "  cloud-bridge fleet enroll add fleet control-1 --controller\n"
        "  cloud-bridge fleet enroll list fleet --within 60      what ends soon, from cron\n"
        "  cloud-bridge fleet enroll renew fleet press-17\n"
        "  cloud-bridge fleet enroll revoke fleet press-18",
    )  # fmt: skip
    own = enroll.add_subparsers(metavar="ACT", required=True)
    _add_init(own)
    _add_names(own)
    listed = subcommand(
        own, "list", "show who has a certificate, and until when",
        "cloud-bridge fleet enroll list fleet\n  cloud-bridge fleet enroll list fleet --within 60",
    )  # fmt: skip
    listed.add_argument(
        "--within", type=count, metavar="DAYS", help="only those that end within so many days; status 1 where there are any"
    )
    listed.set_defaults(command=_list)
    acl = subcommand(
        own, "acl", "print the access list for another broker than Mosquitto",
        "cloud-bridge fleet enroll acl fleet --broker emqx > acl.conf\n"
        "  cloud-bridge fleet enroll acl fleet --broker aws > policy.json",
    )  # fmt: skip
    acl.add_argument("--broker", required=True, choices=("emqx", "aws"), help="in whose words")
    acl.set_defaults(command=_acl)
    for act in (listed, acl):
        _add_folder(act)
    _add_json(listed)


def _add_names(own: Commands) -> None:
    """Whose certificates count."""
    added = subcommand(
        own, "add", "certify new names: a folder for each, and the command that is run with it",
        "cloud-bridge fleet enroll add fleet press-17 press-18\n"
        "  cloud-bridge fleet enroll add fleet control-1 --controller\n"
        "  cloud-bridge fleet enroll add fleet press-17 --request press-17.csr      its key never leaves the device",
    )  # fmt: skip
    added.set_defaults(command=_add, role="device")
    role = added.add_mutually_exclusive_group()
    for name, what in (("controller", "what carries rollouts out"), ("operator", "people, and what they run by hand"),
                       ("worker", "an endpoint that answers inference over MQTT")):  # fmt: skip
        role.add_argument(f"--{name}", dest="role", action="store_const", const=name, help=f"it is no device, but {what}")
    renew = subcommand(
        own, "renew", "certify names anew, with new keys; the old ones count until they end",
        "cloud-bridge fleet enroll renew fleet press-17\n  cloud-bridge fleet enroll renew fleet broker.example",
    )  # fmt: skip
    renew.set_defaults(command=_renew)
    revoke = subcommand(
        own, "revoke", "let names not count any more, once the broker has been told",
        "cloud-bridge fleet enroll revoke fleet press-18",
    )  # fmt: skip
    revoke.set_defaults(command=_revoke)
    for act in (added, renew, revoke):
        _add_folder(act)
        act.add_argument("names", nargs="+", metavar="NAME", help="a device's or another's name: A-Z a-z 0-9 _ and -")
    for act in (added, renew):
        _add_life(act)
        act.add_argument(
            "--request", type=Path, metavar="FILE", help="a request (PKCS 10, PEM) that brings the key, of one name"
        )
        act.add_argument(
            "--at",
            default="/etc/edge/fleet",
            metavar="DIR",
            help="where its files will lie there (default: /etc/edge/fleet)",
        )
    for act in (added, renew, revoke):
        _add_json(act)


def _add_init(own: Commands) -> None:
    init = subcommand(
        own, "init", "make the authority of a fleet, and the files of its broker (Mosquitto)",
        "cloud-bridge fleet enroll init fleet --broker-name broker.example\n"
        "  cloud-bridge fleet enroll init fleet --broker-name broker.example --broker-name 10.0.0.5 --root site-7",
    )  # fmt: skip
    init.add_argument("folder", type=Path, metavar="DIR", help="a new folder; its folder `authority` is kept offline")
    init.add_argument(
        "--broker-name", required=True, action="append", metavar="HOST",
        help="by which clients reach the broker: a name or an address; again for more",
    )  # fmt: skip
    init.add_argument("--port", type=int, default=8883, help="for devices (default: 8883)")
    init.add_argument("--control-port", type=int, default=8884, help="for all others (default: 8884)")
    init.add_argument("--root", default=ROOT, help=f"the root of its topics (default: {ROOT})")
    init.add_argument(
        "--broker-folder", default="/etc/mosquitto/fleet", metavar="DIR",
        help="where its files will lie on the broker (default: /etc/mosquitto/fleet)",
    )  # fmt: skip
    init.add_argument(
        "--broker-data", default="/var/lib/mosquitto", metavar="DIR",
        help="where the broker keeps sessions (default: /var/lib/mosquitto)",
    )  # fmt: skip
    _add_life(init)
    init.set_defaults(command=_init)


def _add_folder(act: argparse.ArgumentParser) -> None:
    act.add_argument("folder", type=Path, metavar="DIR", help="the folder that `init` made")


def _add_json(act: argparse.ArgumentParser) -> None:
    act.add_argument("--json", action="store_true", help="print JSON")


def _add_life(act: argparse.ArgumentParser) -> None:
    act.add_argument("--days", type=count, default=730, metavar="N", help="a certificate counts so long (default: 730)")


def _opened(folder: Path) -> Enrolment:
    with required("enrolment"):
        from cloud_bridge.fleet.enrolment import Enrolment  # here: only this command needs what it needs
    return Enrolment(folder)


def _init(arguments: argparse.Namespace) -> int:
    with required("enrolment"):
        from cloud_bridge.fleet.access import Listeners
        from cloud_bridge.fleet.enrolment import Enrolment, Settings
    for port in (arguments.port, arguments.control_port):
        if not 0 < port < 65536:
            raise InputError(f"{port} is no port: give one from 1 to 65535")
    if arguments.port == arguments.control_port:
        raise InputError("devices and those who run the fleet come by two ports: give another --control-port")
    doors = Listeners(arguments.port, arguments.control_port, arguments.broker_folder, arguments.broker_data)
    folder = arguments.folder
    Enrolment.init(folder, Settings(tuple(arguments.broker_name), arguments.root, doors), arguments.days * DAY)
    print(
        f"{folder}/authority signs for this fleet: keep it offline, and a copy of it.\n"
        f"{folder}/broker goes to the broker, as root there:\n"
        f"  install -d -o mosquitto -m 700 {doors.folder}\n"
        f"  install -o mosquitto -m 600 broker/* {doors.folder}/\n"
        f"  install -m 644 broker/mosquitto.conf /etc/mosquitto/mosquitto.conf && systemctl restart mosquitto"
    )
    return 0


def _add(arguments: argparse.Namespace) -> int:
    enrolment, request = _opened(arguments.folder), _request(arguments)
    made = [(name, enrolment.add(name, arguments.role, arguments.days * DAY, request)) for name in arguments.names]
    tell_handed(arguments, enrolment, made)
    if arguments.role != "device":
        warn_of_broker(arguments.folder)
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    enrolment, request = _opened(arguments.folder), _request(arguments)
    made = [(name, enrolment.renew(name, arguments.days * DAY, request)) for name in arguments.names]
    tell_handed(arguments, enrolment, made)
    if {*arguments.names} & {*enrolment.settings.broker}:
        warn_of_broker(arguments.folder)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    enrolment = _opened(arguments.folder)
    gone = {name: enrolment.revoke(name) for name in arguments.names}
    if arguments.json:
        print(json.dumps(gone, indent=2))
    else:
        table(("NAME", "REVOKED"), [(name, f"{n} certificate{'s' * (n != 1)}") for name, n in gone.items()])
    warn_of_broker(arguments.folder)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    enrolment = _opened(arguments.folder)
    if arguments.within is None:
        tell_enrolled(arguments, enrolment.all())
        warn_of_ends(arguments.folder, enrolment)
        return 0
    soon = ending(enrolment, arguments.within)
    tell_enrolled(arguments, soon)
    return 1 if soon else 0


def _acl(arguments: argparse.Namespace) -> int:
    from cloud_bridge.fleet.access import access, aws_policy, emqx

    enrolment = _opened(arguments.folder)
    if arguments.broker == "aws":
        print(aws_policy(access("device", enrolment.settings.root, aws=True)), end="")
        return 0
    for name, role in enrolment.users():
        print(emqx(f'{{user, "{name}"}}', enrolment.access(role)), end="")
    print(emqx("all", enrolment.access("device")) + "{deny, all}.")
    return 0


def _request(arguments: argparse.Namespace) -> bytes | None:
    path: Path | None = arguments.request
    if path is None:
        return None
    if len(arguments.names) > 1:
        raise InputError("a request is for one name: give the others by themselves")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
