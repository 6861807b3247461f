"""What users tell a resource by annotations, and the revisions they can name."""
