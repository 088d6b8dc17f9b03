"""The gateway's services over gRPC, and the guard in front of them."""
