"""What the train stage is made of: learning fold by fold, the live view, the page."""
