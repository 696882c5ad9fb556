"""Learning: what is drawn, what is lowered, what is kept, and when to stop."""
