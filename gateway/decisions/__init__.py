"""Policy enforcement: the policy in force, the engine in worker processes, and the point that never raises."""
