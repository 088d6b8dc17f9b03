"""`tdz demo`: both zones on this machine, the whole story; its corridor also serves tests and benchmarks."""
