"""Tests of what is shipped around the service: image, workflow, bill of materials, documents."""
