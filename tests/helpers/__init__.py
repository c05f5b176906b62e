"""What tests make their inputs with: frames and captures, records and streams, QEMUs."""
