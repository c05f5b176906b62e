"""How a channel is framed."""
