"""The two state machines, held complete: what is not in a table raises."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import REASON_STATUS, ConflictError
from gateway.model import negotiation, transfer
from gateway.model.negotiation import NegotiationEvent, NegotiationState
from gateway.model.transfer import ABORT_REASONS, AbortReason, TransferEvent, TransferState, abort_reason

MACHINES = [
    (negotiation, NegotiationState, NegotiationEvent),
    (transfer, TransferState, TransferEvent),
]
PAIRS = [(module, *pair) for module, states, events in MACHINES for pair in itertools.product(states, events)]


@pytest.mark.parametrize(("module", "state", "event"), PAIRS, ids=lambda value: str(getattr(value, "value", "")))
def test_every_pair_of_state_and_event_is_in_the_table_or_raises(module, state, event):
    if (state, event) in module.TRANSITIONS:
        assert module.advance(state, event) is module.TRANSITIONS[state, event]
    else:
        with pytest.raises(ConflictError, match=f"{state} cannot {event}"):
            module.advance(state, event)


def test_the_states_are_those_of_the_dataspace_protocol():
    assert {s.value for s in NegotiationState} == {
        "REQUESTED", "OFFERED", "ACCEPTED", "AGREED", "VERIFIED", "FINALIZED", "TERMINATED",
    }  # fmt: skip
    assert {s.value for s in TransferState} == {"REQUESTED", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED"}


def test_nothing_leads_out_of_a_finished_negotiation():
    assert [pair for pair in negotiation.TRANSITIONS if pair[0] in negotiation.FINAL] == []


def test_a_finished_transfer_moves_only_for_a_partner_that_reads_on_and_for_a_late_receipt():
    out = {pair: to for pair, to in transfer.TRANSITIONS.items() if pair[0] in transfer.FINAL}
    assert set(out.values()) == {TransferState.COMPLETED}
    assert {pair[1] for pair in out if pair[0] is TransferState.TERMINATED} == {TransferEvent.LATE_RECEIPT}


@pytest.mark.parametrize(("module", "start"), [(negotiation, "REQUESTED"), (transfer, "REQUESTED")])
def test_every_open_state_that_is_reached_can_be_ended(module, start):
    reached, edge = set(), {start}
    while edge:
        reached |= edge
        edge = {to.value for (state, _), to in module.TRANSITIONS.items() if state.value in reached} - reached
    ends = {state.value for (state, _), to in module.TRANSITIONS.items() if to.value == "TERMINATED"}
    assert reached - {state.value for state in module.FINAL} <= ends


def test_a_transfer_is_given_up_for_a_reason_of_ours_whatever_is_said():
    assert {reason.value for reason in AbortReason} | REASON_STATUS.keys() == ABORT_REASONS
    assert all(abort_reason(reason) == reason for reason in ABORT_REASONS)
    assert abort_reason("TDZ-LIMIT", by="consumer") == "consumer: TDZ-LIMIT"
    for said in ("", "Policy", "policy of Zhang San", "TDZ-LIMIT\n", "TDZ-LIMIT: Zhang San"):
        assert abort_reason(said) == "other"
        assert abort_reason(said, by="consumer") == "consumer: other"
