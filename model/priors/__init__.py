"""What is known before a network learns: dasymetric and pycnophylactic densities, and which of them suits."""
