"""How evaluation data comes: one file a format, from URIs to queries, documents and judgements."""
