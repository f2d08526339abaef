"""Storms: real runs under kills, full disks and read errors, which must come to what a calm run comes to."""
