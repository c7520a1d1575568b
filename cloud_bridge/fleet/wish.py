"""What an operator desires of devices' shadow `config`, and what has become of it on each. Pure: messages in, messages out.

asked -> accepted -> reported          accepted: it is in the shadow, and holds whatever happens to the device
      -> rejected                      reported: the device has it
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET

from cloud_bridge.protocol.fleet import shadow, topics
from cloud_bridge.protocol.fleet.presence import Presence, Status
from cloud_bridge.protocol.fleet.shadow import Config, Section
from cloud_bridge.protocol.fleet.topics import Kind
from cloud_bridge.protocol.fleet.wire import decode
from edge_runtime.routing.policy import Policy

Stage: TypeAlias = Literal["asked", "accepted", "reported", "rejected"]


class Budget(msgspec.Struct, frozen=True):
    """Seconds that a call of a model may take; None: none is desired any more."""

    model: str
    seconds: float | None

    @property
    def about(self) -> str:
        """What a device calls it where it refuses it."""
        return self.model

    def desired(self) -> Section:
        """What is to be changed in the shadow."""
        return {"budgets": {self.model: self.seconds}}

    def held(self, reported: Mapping[str, Any]) -> bool:
        """Whether a device that reports this has it."""
        budgets = reported.get("budgets")
        return (budgets.get(self.model) if isinstance(budgets, Mapping) else None) == self.seconds


class Routing(msgspec.Struct, frozen=True):
    """A routing policy; None: none is desired any more, and devices route by their own."""

    policy: Policy | None

    @property
    def about(self) -> str:
        """What a device calls it where it refuses it."""
        return "policy"

    def desired(self) -> Section:
        """What is to be changed in the shadow: all that is as by default is deleted."""
        if self.policy is None:
            return {"policy": None}
        told, usual = msgspec.structs.asdict(self.policy), msgspec.structs.asdict(Policy())
        return {"policy": {name: None if value == usual[name] else value for name, value in told.items()}}

    def held(self, reported: Mapping[str, Any]) -> bool:
        """Whether a device that reports this has it. What it routes by where none is desired, it alone knows."""
        if self.policy is None:
            return "policy" in reported
        known, wanted = reported.get("policy"), shadow.write(Config(policy=self.policy))["policy"]
        return isinstance(known, Mapping) and not shadow.change(known, wanted)


Wish: TypeAlias = Budget | Routing


class Fate(msgspec.Struct):
    """What has become of it on one device."""

    stage: Stage = "asked"
    why: str = ""
    """Why it is rejected, or what the device says against it."""
    presence: Presence = Presence()
    token: str = ""


class Wishes:
    """One wish, of many devices. A message is what is to be said: its kind, its thing, its content."""

    def __init__(self, wish: Wish, things: Iterable[str]) -> None:
        self.wish = wish
        self.fates = {thing: Fate(token=secrets.token_hex(8)) for thing in things}

    def begin(self) -> list[tuple[Kind, str, msgspec.Struct]]:
        """What is said first."""
        change = shadow.Change(desired=self.wish.desired())
        return [
            (topics.SHADOW_UPDATE, thing, shadow.Update(state=change, client_token=fate.token))
            for thing, fate in self.fates.items()
        ]

    def heard(self, kind: Kind, thing: str, data: bytes) -> list[tuple[Kind, str, msgspec.Struct]]:
        """What a message leads to. Raises ProtocolError."""
        if (fate := self.fates.get(thing)) is None:
            return []
        match kind:
            case topics.STATUS:
                fate.presence = fate.presence.fold(decode(data, Status))
            case topics.SHADOW_UPDATE_REJECTED:
                refusal = decode(data, shadow.Rejected)
                if refusal.client_token == fate.token and fate.stage == "asked":
                    fate.stage, fate.why = "rejected", refusal.message
            case topics.SHADOW_UPDATE_ACCEPTED:
                return self._accepted(thing, fate, decode(data, shadow.Updated))
            case topics.SHADOW_GET_ACCEPTED if fate.stage == "accepted":
                self._got(fate, decode(data, shadow.Document))
        return []

    def at(self, *stages: Stage) -> tuple[str, ...]:
        """The things on which it is at one of these stages."""
        return tuple(thing for thing, fate in self.fates.items() if fate.stage in stages)

    def _accepted(self, thing: str, fate: Fate, told: shadow.Updated) -> list[tuple[Kind, str, msgspec.Struct]]:
        """Of this wish, or of what the device reports: then all of it is asked for."""
        if told.client_token == fate.token and fate.stage == "asked":
            fate.stage = "accepted"
        elif fate.stage != "accepted" or told.state.reported is UNSET:
            return []
        return [(topics.SHADOW_GET, thing, shadow.Get(client_token=secrets.token_hex(8)))]

    def _got(self, fate: Fate, told: shadow.Document) -> None:
        refused = told.state.reported.get("refused")
        fate.why = str(refused.get(self.wish.about, "")) if isinstance(refused, Mapping) else ""
        if self.wish.held(told.state.reported):
            fate.stage = "reported"
