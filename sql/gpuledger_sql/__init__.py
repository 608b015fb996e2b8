"""The SQL of the store as package resources: `migrations/`, `rollups/`, `views/`, `rules/`, `report/`."""
