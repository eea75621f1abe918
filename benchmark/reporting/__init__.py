"""Reports made from run records: tables, claims, differences, the report page."""
