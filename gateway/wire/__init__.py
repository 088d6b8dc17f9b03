"""What servers and clients share of the wire: Flight frames, statuses, channels."""
