"""Who may call what: the one table of methods and roles, and the guard around every handler."""

from gateway.server.access.calls import OpenCalls
from gateway.server.access.guard import Access, Caller, Registrar, caller
from gateway.server.access.readiness import Readiness
from gateway.server.access.roles import ANY, METHOD_ROLES, check_complete

__all__ = [
    "ANY",
    "METHOD_ROLES",
    "Access",
    "Caller",
    "OpenCalls",
    "Readiness",
    "Registrar",
    "caller",
    "check_complete",
]
