"""A run as one page to read: report.html, from records and what lies beside them, without torch."""
