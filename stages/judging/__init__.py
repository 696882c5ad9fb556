"""How finished maps are judged: the truth opened, maps measured, the table written."""
