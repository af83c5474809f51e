"""The chapters of a report: a file for each kind of run."""
