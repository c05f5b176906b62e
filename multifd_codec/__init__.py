"""What the bytes of a QEMU multifd migration mean, both ways: declarations, layouts, events, decoders, encoders."""
