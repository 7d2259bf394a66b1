"""``make fuzz``: hostile files and hostile network sessions."""
