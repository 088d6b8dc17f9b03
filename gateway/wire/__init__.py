"""What servers and clients share of the wire: Flight frames, statuses, channels."""

import os

# gRPC's core writes handshake failures to standard error by itself; our own log and errors tell of them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
