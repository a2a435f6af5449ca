"""How languages write numbers, where Django's own formats are not what readers know."""
