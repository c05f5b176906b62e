"""What was judged, as findings and a report."""
