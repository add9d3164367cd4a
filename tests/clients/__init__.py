"""Tests of requests as existing front ends send them."""
