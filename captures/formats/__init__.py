"""Files to frames: pcap and pcapng, mapped into memory."""
