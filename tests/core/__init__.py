"""Tests of dependencies."""
