"""What is asked of a store: status, verify and repair, the doctor, the table of clips."""
