"""The relay: admits tunnels that hold a live grant, and nothing else."""
