"""Tests of the benchmark: that it runs and reports correctly, never how fast anything is."""
