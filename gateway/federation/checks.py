"""What an update has to pass before a round takes it in. Each refusal has a reason of its own."""

from __future__ import annotations

import numpy as np

from gateway.errors import (
    UpdateExamplesError,
    UpdateNormError,
    UpdateRunError,
    UpdateShapeError,
    UpdateValueError,
)
from gateway.federation.parameters import Parameters, difference
from gateway.federation.updates import Update, update_norm
from gateway.model import limits


def check_update(
    update: Update,
    *,
    run: str,
    round_number: int,
    zone: str,
    reference: Parameters,
    norm_bound: float,
    examples_max: int = limits.EXAMPLES_MAX,
) -> float:
    """Check an update against what its run declared, the cheap questions first.

    Args:
        update: what arrived, or is about to leave.
        run: the run's id.
        round_number: the round that is open, from 1.
        zone: the zone that the update came from, by its certificate.
        reference: the global parameters of this round.
        norm_bound: the most that ||update - reference|| (L2, all arrays together) may be; above 0.
        examples_max: the most examples that the zone may count, for instance the rows of its datasets.

    Returns:
        The norm of the difference, for the record.

    Raises:
        UpdateRunError: another run, round or zone.
        UpdateExamplesError: fewer than 1 example, or more than the limit.
        UpdateShapeError: an array is missing, too many, or of another name, type or shape.
        UpdateValueError: NaN or infinity.
        UpdateNormError: further from the reference than the bound.
    """
    if update.run != run:
        raise UpdateRunError("an update for another run", remedy="send it in the run that it was made for")
    if update.round != round_number:
        raise UpdateRunError(
            f"an update for round {update.round} while round {round_number} is open",
            remedy="send the update of the open round",
        )
    if update.zone != zone:
        raise UpdateRunError("an update in the name of another zone", remedy="each zone sends its own update")
    if not 1 <= update.examples <= examples_max:
        raise UpdateExamplesError(
            f"{update.examples} examples stand behind the update; 1 to {examples_max} may",
            remedy="count the rows that were trained on",
        )
    if update.parameters.layout != reference.layout:
        raise UpdateShapeError(
            f"the update's arrays are not those of the run: {difference(update.parameters.layout, reference.layout)}",
            remedy="both zones run the app that the run pins",
        )
    check_finite(update.parameters)
    norm = update_norm(update.parameters, reference)
    if not norm <= norm_bound:
        raise UpdateNormError(
            f"the update is {norm:.6g} from the global parameters; the run's bound is {norm_bound:.6g}",
            remedy="clip to the bound before sending",
        )
    return norm


def check_finite(parameters: Parameters) -> None:
    """Refuse NaN and infinity.

    Raises:
        UpdateValueError: with the array's name.
    """
    for name, array in parameters.items():
        if not np.isfinite(array).all():
            raise UpdateValueError(
                f"array {name} holds NaN or infinity", remedy="lower the learning rate, or scale the features"
            )
