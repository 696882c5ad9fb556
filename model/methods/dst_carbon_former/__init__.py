"""DSTCarbonFormer: ours, and both published forms."""
