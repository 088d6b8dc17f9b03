"""The wiring of the reviewers' desk: what waits for persons, negotiations and runs alike."""

from __future__ import annotations

from gateway.exchange.consumer import Consumer
from gateway.exchange.house import House
from gateway.exchange.outbox import Outbox
from gateway.exchange.reviewing import HeldNegotiations
from gateway.federation.federation import Federation
from gateway.flow.reviewing import Desk
from gateway.model.review import Process


def reviewers_desk(house: House, outbox: Outbox, consumer: Consumer, federation: Federation) -> Desk:
    """The desk at which this zone's persons answer."""
    negotiations = HeldNegotiations(house, outbox, consumer.go_on)
    return Desk(house, {Process.NEGOTIATION: negotiations, Process.RUN: federation.holding})
