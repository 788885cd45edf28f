"""How fast exports are beside copies, and what kills do to them."""
