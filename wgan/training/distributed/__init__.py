"""Training in several processes: process group, heartbeat, synchronised batch norm."""
