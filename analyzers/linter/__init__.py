"""What was judged and what was seen, as findings and a report; here is what rules check beyond a single row."""
