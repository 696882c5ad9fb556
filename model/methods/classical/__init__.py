"""Methods that learn nothing by gradient: areal weighting, dasymetric mapping, regression on totals."""
