"""Where the bytes of a migration come from and go to: captures, channel files, tshark."""
