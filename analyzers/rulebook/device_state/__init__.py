"""Device state in packets and on main."""
