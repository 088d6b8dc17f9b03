"""An agreement in force, as its consumer holds it."""

from __future__ import annotations

from gateway.model import limits
from gateway.sdk.pull import AsyncPull
from gateway.sdk.resources import AccessRequest, Agreement
from gateway.sdk.session import Session
from gateway.sdk.stream import ProgressCallback
from gateway.v1 import exchange_pb2


class AsyncAccess:
    """An agreement in force, with the request that brought it.

    Args:
        session: the caller's.
        request: the request as the gateway answered it; None where the agreement was found by its id.
        agreement: the agreement's id.
    """

    def __init__(self, session: Session, request: AccessRequest | None, agreement: str) -> None:
        self._session = session
        self.request = request
        self.agreement = agreement

    def __repr__(self) -> str:
        return f"<Access by agreement {self.agreement}>"

    async def pull(
        self,
        *,
        transfer: str = "",
        progress: ProgressCallback | None = None,
        stall_s: float = limits.LEASE_S,
    ) -> AsyncPull:
        """Open a transfer: a new one, or where one of this agreement is unfinished, that one.

        Args:
            transfer: id of a transfer of the caller's to read again.
            progress: called with `Progress` after every chunk, on the SDK's event loop; it must not block.
            stall_s: without a verified chunk for so long, reconnects included, the pull gives up.

        Raises:
            DeniedError: policy has changed since; findings say which rule.
            TdzError: any other refusal.
        """
        return await AsyncPull.open(
            self._session, self.agreement, transfer=transfer, progress=progress, stall_s=stall_s
        )

    async def show(self) -> Agreement:
        """The agreement as the gateway has it.

        Raises:
            NotFoundError: it is none of the caller's.
        """
        return await show_agreement(self._session, self.agreement)


async def show_agreement(session: Session, agreement: str) -> Agreement:
    """One agreement of the caller's, by its id.

    Raises:
        NotFoundError: it is none of the caller's.
    """
    message = exchange_pb2.GetAgreementRequest(id=agreement)
    return Agreement.of(await session.call(session.exchange.GetAgreement, message))
