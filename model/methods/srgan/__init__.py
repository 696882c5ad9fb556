"""Super-resolution learned from pairs of coarse and fine fields: SRResNet and SRGAN."""
