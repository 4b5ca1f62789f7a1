"""The network: its configuration, the sequences that it reads, the module and its checkpoints."""
