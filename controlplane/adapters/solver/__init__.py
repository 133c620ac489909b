"""Adapters to OR-tools: exact solvers behind the ports that planners name (an extra: `kfleet[solver]`)."""
