"""What must stay true: laws by which raw estimates meet their totals, and what follows where a law cannot."""
