"""What users may run and copy."""
