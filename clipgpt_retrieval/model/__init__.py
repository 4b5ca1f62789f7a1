"""The model: configuration, sequence format, module, losses and checkpoints."""
