"""Files to frames: pcap, pcapng, and the mapped-ram file."""
