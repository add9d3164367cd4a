"""Tests of the benchmark: that it runs and says what it found, never how fast anything is."""
